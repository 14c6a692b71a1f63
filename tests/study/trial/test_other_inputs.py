"""Arms that read other latents than their study, in one process."""

from dataclasses import replace

import numpy as np

from listeners import Silent
from rheobase.study.file.ablation import reads_told
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.effect_table import effects_of
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.search.schedule import Bookkeeper, run_here

READS = {"teacher.encoder": "gru"}


def test_such_an_arm_gives_what_a_study_with_that_teacher_gives(planted, tmp_path):
    _, shard, latents = planted
    turned = replace(latents, digest="e", by_session={"s": latents.by_session["s"][:, ::-1] ** 3})
    table = {
        "name": "t",
        "data": {"sessions": ["s"]},
        "teacher": {"latent_dim": 2},
        "student": {"num_neurons": 8, "steps": 10, "batch_windows": 4},
        "search": {"trials": 1},
        "seeds": {"select": [0], "report": [10]},
    }
    spec = parse_study({**table, "ablation": {"arms": {"gru": READS}}})
    alone = parse_study({**table, "teacher": {"latent_dim": 2, "encoder": "gru"}})
    found = {}
    for name, study, own, others in (
        ("arms", spec, latents, {reads_told(READS): ([shard], turned)}),
        ("alone", alone, turned, None),
    ):
        with Ledger(tmp_path / f"{name}.sqlite") as ledger:
            books = Bookkeeper(ledger, Silent())
            run_here(study, tmp_path / name, [shard], own, "d", books, others=others)
            records = ledger.records()
        found[name] = {
            one.request.arm: one.result.replicates
            for one in records
            if one.request.stage == "report"
        }
        if others:
            arm = rank_study(spec, records).confirmed[1]
            (effect,) = effects_of(spec, records).arms
    assert found["arms"]["gru"] == found["alone"]["baseline"]
    assert not np.isclose(
        found["arms"]["gru"][0].cca_heldout, found["arms"]["baseline"][0].cca_heldout
    )
    assert arm.reads == READS
    assert (
        "cca_heldout: of another target than the study's: latents with teacher.encoder = 'gru'"
        in (arm.notes)
    )
    assert effect.other_targets == {"gru": "latents with teacher.encoder = 'gru'"}
    assert effect.mean == (
        found["arms"]["gru"][0].cca_heldout - found["arms"]["baseline"][0].cca_heldout
    )
