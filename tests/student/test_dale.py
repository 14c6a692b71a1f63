import pytest
import torch

from rheobase.core.errors import ConstraintError
from rheobase.student.dale import dale_violations, neuron_signs, project_to_signs_
from rheobase.student.settings import StudentSettings

SIGNS = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
WEIGHTS = torch.tensor([[[2.0, -3.0], [4.0, -5.0]]]).repeat(2, 1, 1)  # [pre, post] of two networks


def test_a_weight_of_the_wrong_sign_becomes_zero_and_every_other_stays():
    recurrent = WEIGHTS.clone()
    project_to_signs_(recurrent, SIGNS, torch.tensor([True, True]))
    # Neither flipped to 3 and -4, nor spread over its neighbours.
    assert recurrent.tolist() == [[[2.0, 0.0], [0.0, -5.0]]] * 2
    assert dale_violations(recurrent, SIGNS).tolist() == [0, 0]


def test_a_network_without_the_principle_keeps_its_weights():
    recurrent = WEIGHTS.clone()
    project_to_signs_(recurrent, SIGNS, torch.tensor([False, True]))
    assert torch.equal(recurrent[0], WEIGHTS[0])
    assert dale_violations(recurrent, SIGNS).tolist() == [2, 0]


def test_signs_are_of_the_presynaptic_neuron():
    # An excitatory neuron sends -3, an inhibitory one 0.5 and 6: by their targets two would err.
    recurrent = torch.tensor([[[2.0, -3.0, 1.0], [1.0, 1.0, 1.0], [0.5, 6.0, -1.0]]])
    signs = torch.tensor([[1.0, 1.0, -1.0]])
    assert dale_violations(recurrent, signs).tolist() == [3]
    project_to_signs_(recurrent, signs, torch.tensor([True]))
    assert recurrent.tolist() == [[[2.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, -1.0]]]


def test_excitatory_neurons_come_first_in_their_share():
    settings = StudentSettings(num_neurons=10, excitatory_fraction=0.8)
    assert neuron_signs(settings).tolist() == [1.0] * 8 + [-1.0] * 2


def test_a_share_that_leaves_no_neuron_of_one_kind_is_refused_in_one_line():
    settings = StudentSettings(num_neurons=2, excitatory_fraction=0.99)
    with pytest.raises(ConstraintError) as caught:
        neuron_signs(settings)
    assert "\n" not in str(caught.value)
