"""Whether a session has enough train bins for every student that a study may draw."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

from rheobase.core.errors import DataError, StudyError
from rheobase.core.host import usable_cpus, visible_gpus
from rheobase.shards.states import refuse_unknown_states, two_states
from rheobase.shards.timeline import Timeline
from rheobase.study.file.ablation import arms_of
from rheobase.study.file.objectives import OF_STATES, STATE_MEASURES
from rheobase.study.file.search_settings import Choice
from rheobase.study.file.spec import READ, StudySpec, of_tables


def searched(spec: StudySpec, setting: str) -> list[Any]:
    """Return the study's own value of a setting, and its choices or the ends of its range."""
    axis = spec.search.space.get(f"student.{setting}")
    values = [getattr(spec.student, setting)]
    if isinstance(axis, Choice):
        values += axis.choices
    elif axis is not None:
        values += [math.ceil(axis.low), math.floor(axis.high)]
    return values


def drawn(spec: StudySpec, setting: str) -> list[int]:
    """Return what the study and its arms may set an integer setting to, ranges by their ends.

    Of arms that read what the study reads: others are studies of their own (`study_of_arm`).

    Examples
    --------
    >>> from rheobase.study.file.spec import parse_study
    >>> space = {"student.num_neurons": {"low": 18, "high": 300}}
    >>> table = {"name": "x", "data": {"sessions": ["a.nwb"]}, "search": {"space": space}}
    >>> drawn(parse_study(table), "num_neurons")
    [128, 18, 300]
    """
    path = f"student.{setting}"
    of_arms = [
        overrides[path]
        for overrides in arms_of(spec).values()
        if path in overrides and not of_tables(overrides, *READ)
    ]
    return [int(value) for value in searched(spec, setting) + of_arms]


def backends(spec: StudySpec) -> set[str]:
    """Return what may run the study's networks and those of its arms."""
    of_arms = [one.get("student.backend") for one in arms_of(spec).values()]
    return {str(name) for name in (*searched(spec, "backend"), *of_arms) if name}


def refuse_too_few_bins(
    spec: StudySpec, session: str, timeline: Timeline, warm_up: int = 0
) -> None:
    """Refuse a session on which some student of the study could not be fitted.

    Parameters
    ----------
    spec
        The study.
    session
        Named in the error.
    timeline
        Labels (T,) of its bins.
    warm_up
        Bins at the start of a window that are not scored, where that is known.

    Raises
    ------
    DataError
        Its train bins are fewer than num_neurons + latent_dim + 2, where no projection is
        determined and any CCA is 1; or a batch's scored samples are not more than latent_dim.

    Notes
    -----
    The least that can be fitted at all: bins of 10 ms tell almost the same as their neighbours,
    and good fits take many times as many.
    """
    dims, num_train = spec.teacher.num_dims, int(timeline.train.sum())
    neurons = max(drawn(spec, "num_neurons"))
    if num_train < neurons + dims + 2:
        raise DataError(
            f"{session}: num_neurons + teacher.latent_dim + 2 train bins at least must be there "
            f"to fit CCA, but up to {neurons} neurons and {dims} latents take "
            f"{neurons + dims + 2} and there are {num_train}; use a longer recording, fewer "
            "neurons or a smaller teacher.latent_dim"
        )
    windows = min(drawn(spec, "batch_windows"))
    scored = round(spec.data.window_ms / timeline.bin_ms) - warm_up
    if windows * scored <= dims:
        raise DataError(
            f"{session}: a batch must score more bins than teacher.latent_dim = {dims}, but "
            f"student.batch_windows = {windows} windows of {spec.data.window_ms:g} ms have "
            f"{windows * scored} after their warm-up; use more or longer windows"
        )


def refuse_states(spec: StudySpec, session: str, timeline: Timeline) -> None:
    """Refuse a session that lacks states which the study names, or that it compares.

    Parameters
    ----------
    spec
        The study.
    session
        Named in the error.
    timeline
        Labels (T,) of all its bins.

    Raises
    ------
    DataError
        It lacks a state of data.fit_states or data.score_states; or an objective or a line of
        [require] is across states, and it has no two.
    """
    data = spec.data
    refuse_unknown_states(timeline, session, fit=data.fit_states, score=data.score_states)
    asked = [
        *(f"search.objectives {name}" for name in spec.search.objectives if name in OF_STATES),
        *(f"require.{name}" for name in STATE_MEASURES if getattr(spec.require, name) is not None),
    ]
    if asked and not two_states(timeline):
        raise DataError(
            f"{session}: {' and '.join(asked)} needs two states that each have train and held-out "
            "bins, but the session has fewer; leave it out, or the session"
        )


def refuse_beyond_machine(spec: StudySpec) -> None:
    """Refuse a study whose trials ask for more than this machine has, before anything is read.

    Raises
    ------
    StudyError
        A trial asks for more CPUs or GPUs than there are, or for a backend that is not installed.
    """
    if "snntorch" in backends(spec) and find_spec("snntorch") is None:
        raise StudyError(
            f"{spec.name} [student]: backend = 'snntorch' needs snntorch, which is not installed; "
            "pip install 'rheobase[snntorch]'"
        )
    asked = spec.resources
    for name, wanted, there, what in (
        ("cpus_per_trial", asked.cpus_per_trial, usable_cpus(), "CPUs"),
        ("gpus_per_trial", asked.gpus_per_trial, visible_gpus(), "GPUs"),
    ):
        if wanted > there:
            raise StudyError(
                f"{spec.name} [resources]: {name} must fit on this machine, where {there} {what} "
                f"may be used, but is {wanted:g}; use a smaller one, or --address of a cluster"
            )
