"""The shards and latents that a study's trials read, those of its arms too, each made once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rheobase.distributed.ingest import ingest
from rheobase.distributed.pretrain import pretrain
from rheobase.shards.held_out import refuse_other_blocks
from rheobase.shards.states import student_line
from rheobase.shards.store import read_shard
from rheobase.shards.timeline import timeline_of
from rheobase.student.fit import warm_up_bins
from rheobase.study.file.ablation import naming_arms, other_inputs, study_of_arm
from rheobase.study.file.spec import StudySpec
from rheobase.study.planning.limits import refuse_states, refuse_too_few_bins
from rheobase.study.planning.named_by_students import refuse_what_a_session_lacks
from rheobase.study.records.listener import Listener


class Read(NamedTuple):
    """What some trials of a study read.

    Attributes
    ----------
    spec
        The study, as arms that read it change [data] and [teacher].
    shards
        Paths of the binned sessions.
    latents
        Folders of the teachers' latents, that of the search first.
    """

    spec: StudySpec
    shards: tuple[Path, ...]
    latents: tuple[Path, ...]


def made_inputs(spec: StudySpec, listener: Listener) -> tuple[Read, dict[str, Read]]:
    """Bin the sessions and train the teachers of a study and of its arms.

    Parameters
    ----------
    spec
        The study.
    listener
        Hears of the teachers and of their progress.

    Returns
    -------
    What the study's trials read; then, by `reads_told`, what those of arms read that set [data] or
    [teacher]. Arms that set the same share it, and what is stored already is not made again.

    Raises
    ------
    RheobaseError
        Whatever reading a session or training a teacher raises; of an arm it is named.

    Notes
    -----
    All of it is made before the search begins, so that an arm which cannot run is told before
    hours of search. Teachers are fitted to train bins; the search reads none of the arms'.
    """
    arms = {
        told: [study_of_arm(spec, arm) for arm in names]
        for told, names in other_inputs(spec).items()
    }
    shards = ingest(spec)
    _refuse_unfit(spec, shards)
    binned = {spec.data.model_dump_json(): shards}
    for told, studies in arms.items():
        data = studies[0].data.model_dump_json()
        with naming_arms(told):
            if data not in binned:
                binned[data] = ingest(studies[0])
                _refuse_other_blocks(shards, binned[data], told)
            for one in studies:
                _refuse_unfit(one, binned[data])
    listener.stage("pretrain", f"{len(shards)} sessions{_also(spec)}")
    own = Read(spec, tuple(shards), _latents(spec, shards, listener))
    others = {}
    for told, (one, *_) in arms.items():
        with naming_arms(told):
            read = binned[one.data.model_dump_json()]
            others[told] = Read(one, tuple(read), _latents(one, read, listener))
    return own, others


def addresses_told(spec: StudySpec) -> str:
    """Return in words how many sessions `made_inputs` will read."""
    return f"{len(spec.data.sessions)} addresses{_also(spec)}"


def _also(spec: StudySpec) -> str:
    return f"; {len(arms)} other for arms" if (arms := other_inputs(spec)) else ""


def _latents(spec: StudySpec, shards: Sequence[Path], listener: Listener) -> tuple[Path, ...]:
    return tuple(
        pretrain(spec.with_teacher(index), shards, listener)
        for index in range(len(spec.teacher_seeds))
    )


def _refuse_unfit(spec: StudySpec, shards: Sequence[Path]) -> None:
    """Refuse sessions on which some student of a study could not be trained or measured."""
    for path in shards:
        shard = read_shard(path)
        whole = timeline_of(shard)
        refuse_states(spec, shard.session_id, whole)
        line = student_line(whole, shard.session_id, spec.data)
        warm_up = warm_up_bins(line, round(spec.data.window_ms / line.bin_ms))
        refuse_too_few_bins(spec, shard.session_id, line, warm_up)
        refuse_what_a_session_lacks(spec, shard)


def _refuse_other_blocks(own: Sequence[Path], other: Sequence[Path], told: str) -> None:
    for ours, theirs in zip(own, other, strict=True):
        shard = read_shard(ours)
        own_line = timeline_of(shard, open_test=True)
        other_line = timeline_of(read_shard(theirs), open_test=True)
        refuse_other_blocks(shard.session_id, own_line, other_line, told)
