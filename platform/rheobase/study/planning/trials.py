"""How many trials and networks a study comes to."""

from __future__ import annotations

from rheobase.study.file.ablation import arms_of, repeated_arms, tuned_trials
from rheobase.study.file.spec import StudySpec


def num_trials(spec: StudySpec) -> int:
    """Return the trials of the search and of the report stage."""
    num_confirmed = num_winners(spec) + num_arms(spec) if spec.seeds.report else 0
    return spec.search.trials + len(tuned_trials(spec)) + num_audits(spec) + num_confirmed


def num_winners(spec: StudySpec) -> int:
    """Return how many trials of the search run again on the report seeds."""
    return min(spec.search.confirm, spec.search.trials)


def num_arms(spec: StudySpec) -> int:
    """Return the arms that run, as far as that is known: none twice."""
    return len(arms_of(spec)) - len(repeated_arms(spec))


def num_audits(spec: StudySpec) -> int:
    """Return the most stopped trials that run to their end."""
    return spec.search.stop.audit if spec.search.stop else 0


def num_replicates(spec: StudySpec) -> int:
    """Return the students that are trained on each session."""
    num_reported = (num_winners(spec) + num_arms(spec)) * len(spec.seeds.report)
    num_chosen_from = spec.search.trials + len(tuned_trials(spec)) + num_audits(spec)
    return num_chosen_from * len(spec.seeds.select) + num_reported
