"""Whether a session tells the signs of its units, where a student of the study asks for them."""

from __future__ import annotations

from rheobase.shards.shard import Shard
from rheobase.student.settings import StudentSettings
from rheobase.student.unit_signs import told_signs
from rheobase.study.file.ablation import arms_of
from rheobase.study.file.search_settings import Choice
from rheobase.study.file.spec import StudySpec, override_student

SIGNS = "student.input_signs"
COLUMN = "student.input_sign_column"


def refuse_unknown_signs(spec: StudySpec, shard: Shard) -> None:
    """Refuse a session without the column by which some student's input weights have signs.

    Parameters
    ----------
    spec
        The study.
    shard
        The session.

    Raises
    ------
    DataError
        It lacks the column, or that says nothing of any unit.
    """
    for student in _students(spec):
        if student.input_signs == "by_unit":
            told_signs(student, shard.unit_columns, shard.num_units, shard.session_id)


def _students(spec: StudySpec) -> list[StudentSettings]:
    """Return a student for each way to give units signs that the study may come to."""
    found = [spec.student]
    for path in (SIGNS, COLUMN):
        axis = spec.search.space.get(path)
        if isinstance(axis, Choice):
            found += [override_student(one, {path: v}) for one in found for v in axis.choices]
    return [
        *found,
        *(override_student(one, arm) for arm in arms_of(spec).values() for one in found),
    ]
