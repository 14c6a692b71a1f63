"""Who hears of a study's progress: the terminal, TensorBoard, a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from rheobase.study.records.result import TrialRecord, TrialRequest


class Listener(Protocol):
    """Called on the driver, in order, while a study runs."""

    def stage(self, name: str, detail: str) -> None:
        """Tell that a stage begins: ``ingest``, ``pretrain``, ``search``, ``report``."""

    def teacher_progress(self, step: int, num_steps: int, values: Mapping[str, float]) -> None:
        """Tell scalars of the teacher's training; after an interruption from its first step on."""

    def teacher_ended(self) -> None:
        """Tell that the teacher trains no longer, however that ended."""

    def trial_started(self, request: TrialRequest) -> None:
        """Tell that a trial runs."""

    def trial_progress(self, trial_id: str, step: int, values: Mapping[str, float]) -> None:
        """Tell scalars of a training step."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Tell that a trial is complete, pruned or failed."""
