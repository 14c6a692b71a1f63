"""LeJEPA that starts at canonical variates."""

import numpy as np
import pytest
from pydantic import ValidationError

from rheobase.measures.probes import ridge_r2
from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.covariates import true_latents_of
from rheobase.shards.settings import DataSettings
from rheobase.shards.timeline import timeline_of
from rheobase.teacher.encode import encode
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.settings import RANDOM_START, TeacherSettings
from rheobase.teacher.training import begun

LEJEPA = TeacherSettings(latent_dim=8, workers=1)


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOBASE_HOME", str(tmp_path_factory.mktemp("home")))
        address = "synthetic:planted?seed=5&minutes=8&units=120&nuisance=1"
        return make_shard(load_session(address), DataSettings(sessions=("x",)))


@pytest.fixture(scope="module")
def closed(shard):
    settings = TeacherSettings(kind="cva", latent_dim=8)
    return encode(fit_teacher([shard], settings, 1000.0), shard)


@pytest.mark.parametrize("encoder", ["linear", "mlp", "gru"])
def test_before_its_first_step_it_is_the_closed_form(shard, closed, encoder):
    settings = LEJEPA.model_copy(update={"encoder": encoder})
    np.testing.assert_array_equal(encode(begun([shard], settings).teacher.cpu(), shard), closed)


def test_it_ends_with_more_of_the_truth_than_the_closed_form(shard, closed):
    line, true = timeline_of(shard), true_latents_of(shard)[1]
    trained = encode(fit_teacher([shard], LEJEPA, 1000.0), shard)
    gain = ridge_r2(trained, true, line) - ridge_r2(closed, true, line)
    assert gain.mean() > 0.01


def test_a_random_start_has_steps_of_its_own_and_takes_others():
    assert LEJEPA.read_in_step < RANDOM_START["read_in_step"]
    random = TeacherSettings(start="random")
    assert {name: getattr(random, name) for name in RANDOM_START} == RANDOM_START
    assert TeacherSettings(start="random", steps=7).steps == 7
    assert TeacherSettings.model_validate(random.model_dump(mode="json")) == random
    with pytest.raises(ValidationError, match="start"):
        TeacherSettings(start="pca")


def test_a_closed_form_is_linear_unless_told_otherwise():
    assert TeacherSettings(kind="cva").encoder == "linear"
    assert TeacherSettings().encoder == "mlp"
