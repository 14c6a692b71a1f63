"""A teacher that is fitted in one state alone."""

import numpy as np
import pytest

from listeners import Silent
from rheobase.core.artifacts import MANIFEST, read_json
from rheobase.distributed.pretrain import pretrain
from rheobase.shards.ingest import bin_session
from rheobase.shards.latents import read_latents
from rheobase.shards.shard import TRAIN
from rheobase.shards.store import read_shard
from rheobase.shards.timeline import timeline_of
from rheobase.study.file.spec import parse_study
from rheobase.study.run_folder import TEACHER_REPORT

PLANTED = "synthetic:planted?seed=0&minutes=2&units=16&code=flipped"


def study(**data):
    return parse_study(
        {
            "name": "x",
            "data": {"sessions": [PLANTED], "quality": "none", **data},
            "teacher": {"kind": "pca", "latent_dim": 2},
            "student": {"num_neurons": 8},
        }
    )


@pytest.fixture(scope="module")
def shard_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOBASE_HOME", str(folder))
        return bin_session(PLANTED, study().data, folder)


def test_a_teacher_of_one_state_is_another_teacher_and_its_report_says_so(shard_path):
    whole = pretrain(study(), [shard_path], Silent())
    alone = pretrain(study(fit_states=["active"]), [shard_path], Silent())
    assert pretrain(study(fit_states=["active"], fit_states_of="teacher"), [shard_path], Silent())
    assert whole != alone
    assert read_json(alone / MANIFEST)["fit_states"] == ["active"]
    assert "fit_states" not in read_json(whole / MANIFEST)
    told = [one for one in read_json(alone / TEACHER_REPORT)["notes"] if "fit_states" in one]
    assert told == [
        "the teacher was fitted in state active alone (data.fit_states); readouts and what stands "
        "beside it were fitted in all"
    ]
    # Components are white where they were fitted.
    line = timeline_of(read_shard(shard_path))

    def from_white(folder, state):
        (latents,) = read_latents(folder).by_session.values()
        fitted = latents[(line.split == TRAIN) & (line.state == state)]
        return np.abs(np.cov(fitted.T) - np.eye(2)).max()

    assert from_white(alone, "active") < 0.05
    assert from_white(alone, "passive") > 0.2
    assert from_white(whole, "active") > 0.06


def test_whom_fit_states_do_not_bind_keeps_its_teacher(shard_path):
    whole = pretrain(study(), [shard_path], Silent())
    of_student = study(fit_states=["active"], fit_states_of="student")
    assert pretrain(of_student, [shard_path], Silent()) == whole
