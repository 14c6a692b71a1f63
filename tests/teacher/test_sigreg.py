import numpy as np
import torch

from rheobase.teacher.sigreg import NUM_KNOTS, random_slices, sigreg


def test_gaussian_is_below_uniform_is_below_collapsed():
    draw = torch.Generator().manual_seed(0)
    slices = random_slices(1, 1, draw)
    normal = torch.randn(4096, 1, generator=draw)
    uniform = (torch.rand(4096, 1, generator=draw) - 0.5) * 12**0.5
    values = [float(sigreg(x, slices)) for x in (normal, uniform, torch.zeros(4096, 1))]
    assert values[0] < values[1] < values[2]


def test_a_collapsed_latent_costs_its_closed_form():
    knots = np.linspace(0, 3, NUM_KNOTS)
    gaussian = np.exp(-(knots**2) / 2)
    expected = 256 * 2 * np.trapezoid((1 - gaussian) ** 2 * gaussian, knots)
    slices = random_slices(8, 16, torch.Generator().manual_seed(0))
    assert np.isclose(float(sigreg(torch.zeros(256, 8), slices)), expected, rtol=1e-5)
