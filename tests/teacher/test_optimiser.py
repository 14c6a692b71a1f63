import pytest
import torch

from rheobase.teacher.optimiser import PolarMomentum, polar_factor


def test_the_polar_factor_is_that_of_the_singular_value_decomposition():
    matrix = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    torch.testing.assert_close(polar_factor(matrix), left @ right)


def test_directions_without_momentum_and_weights_without_gradient_keep_still():
    low_rank = torch.outer(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(polar_factor(low_rank), low_rank / 5)
    assert not polar_factor(torch.zeros(2, 3)).any()
    still, moved = (torch.nn.Parameter(torch.zeros(2, 3)) for _ in range(2))
    moved.grad = low_rank
    PolarMomentum([still, moved], lr=0.1).step()
    assert not still.any()
    torch.testing.assert_close(moved.data, -0.1 * low_rank / 5)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_step_is_as_long_whatever_the_scale_of_the_gradient(scale):
    weight = torch.nn.Parameter(torch.zeros(3, 8))
    weight.grad = scale * torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    PolarMomentum([weight], lr=0.1).step()
    torch.testing.assert_close(weight.norm(dim=1), torch.full((3,), 0.1), rtol=1e-3, atol=0)
