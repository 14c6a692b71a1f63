import subprocess
import sys

import pytest
import torch

from rheobase.teacher.optimiser import AdamW, PolarMomentum, polar_factor


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
    PolarMomentum([still, moved]).step(0.1)
    assert not still.any()
    torch.testing.assert_close(moved.data, -0.1 * low_rank / 5)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_step_is_as_long_whatever_the_scale_of_the_gradient(scale):
    weight = torch.nn.Parameter(torch.zeros(3, 8))
    weight.grad = scale * torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    PolarMomentum([weight]).step(0.1)
    torch.testing.assert_close(weight.norm(dim=1), torch.full((3,), 0.1), rtol=1e-3, atol=0)


def test_the_rest_moves_as_under_adamw_of_torch_and_goes_on_from_its_state():
    draw = torch.Generator().manual_seed(2)
    start = [torch.randn(3, 4, generator=draw), torch.randn(5, generator=draw)]
    ours, theirs, resumed = ([torch.nn.Parameter(one.clone()) for one in start] for _ in range(3))
    expected = torch.optim.AdamW(theirs, lr=0.01, weight_decay=1e-4)
    found = AdamW(ours, weight_decay=1e-4)
    for step in range(6):
        gradients = [torch.randn(one.shape, generator=draw) for one in start]
        if step == 3:
            for weight, now in zip(resumed, ours, strict=True):
                weight.data.copy_(now)
            going_on = AdamW(resumed, weight_decay=1e-4)
            going_on.restore(found.state())
        for weights in (ours, theirs, resumed):
            weights[0].grad = gradients[0].clone()
            weights[1].grad = gradients[1].clone() if step % 2 else None
        found.step(0.01)
        expected.step()
        if step >= 3:
            going_on.step(0.01)
    for one, other, third in zip(ours, theirs, resumed, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, third)


def test_training_does_not_load_the_compiler_of_torch():
    # A second or two in each process that trains, of which a teacher with Ray has several.
    code = (
        "import sys, torch; from rheobase.teacher.optimiser import AdamW, PolarMomentum;"
        "weight = torch.nn.Parameter(torch.zeros(2, 3)); weight.sum().backward();"
        "AdamW([weight], 1e-4).step(0.1); PolarMomentum([weight]).step(0.1);"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
