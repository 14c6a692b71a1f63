"""Whether a session has what students of the study name: signs of its units, a time series."""

from __future__ import annotations

from rheobase.shards.carried import target_series
from rheobase.shards.shard import Shard
from rheobase.shards.targets import SERIES
from rheobase.student.settings import StudentSettings
from rheobase.student.unit_signs import told_signs
from rheobase.study.file.ablation import arms_of
from rheobase.study.file.search_settings import Choice
from rheobase.study.file.spec import StudySpec, override_student

SIGNS = "student.input_signs"
COLUMN = "student.input_sign_column"
TARGET = "student.target"


def refuse_what_a_session_lacks(spec: StudySpec, shard: Shard) -> None:
    """Refuse a session without a column or a time series that some student needs.

    Parameters
    ----------
    spec
        The study.
    shard
        The session.

    Raises
    ------
    DataError
        It lacks the column by which input weights have signs, or that says nothing of any unit; or
        it lacks the time series that a student is to carry.
    """
    for student in _students(spec):
        if student.input_signs == "by_unit":
            told_signs(student, shard.unit_columns, shard.num_units, shard.session_id)
        if student.target.startswith(SERIES):
            target_series(shard, student.target)


def _students(spec: StudySpec) -> list[StudentSettings]:
    """Return a student for each choice of such names that the study may come to."""
    found = [spec.student]
    for path in (SIGNS, COLUMN, TARGET):
        axis = spec.search.space.get(path)
        if isinstance(axis, Choice):
            found += [override_student(one, {path: v}) for one in found for v in axis.choices]
    return [
        *found,
        *(override_student(one, arm) for arm in arms_of(spec).values() for one in found),
    ]
