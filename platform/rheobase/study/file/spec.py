"""The study file: one TOML, one model, unknown keys refused with the nearest name."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from rheobase.core.errors import StudyError, did_you_mean
from rheobase.core.paths import JOIN, expanded, matching, parts_of
from rheobase.core.settings import Settings
from rheobase.shards.settings import DataSettings
from rheobase.student.settings import RENAMED, StudentSettings
from rheobase.study.file.ablation_settings import BASELINES, AblationSettings, Value
from rheobase.study.file.designs import designed
from rheobase.study.file.kinds import misfit, misfits, without_union
from rheobase.study.file.objectives import OF_STATES, STATE_MEASURES
from rheobase.study.file.search_settings import Choice, Range, Scalar, SearchSettings, is_integer
from rheobase.study.records.result import BASELINE, TOP
from rheobase.teacher.settings import TeacherSettings

READ = ("data", "teacher")
"""Tables that decide which shards and latents a trial reads: arms may change them, no search."""
KEPT = {
    "data.sessions": "runs are paired by session",
    "data.split": "the bins that are held out must be the same",
    "data.score_states": "the bins that are scored must be the same",
    "data.events": "it is a table, which arms cannot set",
    "data.paths": "it is a table, which arms cannot set",
    "data.labels": "one column must be named, as 'data.labels.KSLabel'",
}
"""What of them no arm may change, and why."""
LABELS = "labels."
BALANCE_PATHS = frozenset(
    f"student.{name}"
    for name in (
        "ei_balance", "ei_of", "recurrence", "connection_prob", "recurrent_gain",
        "initial_inhibitory_gain", "input_signs", "input_gain", "input_prob", "input_share",
    )
)  # fmt: skip
"""Settings that decide whether a balance can be held."""
MOST_LETTERS = 60
ARM_NAME = re.compile(rf"\w[\w .+-]{{0,{MOST_LETTERS - 1}}}")
MEMORY_TAUS = 5
"""Membrane time constants after which less than 1 % of where a window began is left."""


class Require(Settings):
    """The gate."""

    rate_hz: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] = (5.0, 20.0)
    """Band of firing rates, for every seed and state."""
    ei_balance: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] | None = None
    """Band of inhibitory over excitatory current, input included, for every seed and state; none:
    any, but for what `student.ei_balance` holds."""
    cca_heldout: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """Held-out CCA must exceed it, and every null."""
    cca_within_state: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Held-out CCA fitted and scored in the same state must exceed it, and its nulls; none: no line
    of the gate."""
    cca_cross_state: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Held-out CCA fitted in one state and scored in another must exceed it, and its nulls; none:
    no line of the gate."""

    @model_validator(mode="after")
    def _band_is_ordered(self) -> Require:
        for name, band in (("rate_hz", self.rate_hz), ("ei_balance", self.ei_balance)):
            if band and not band[0] < band[1]:
                raise ValueError(
                    f"{name}: low < high must hold, but got (low={band[0]}, high={band[1]})."
                )
        return self


class SeedSettings(Settings):
    """Root seeds of the replicates."""

    select: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    """Seeds of every trial of the search."""
    report: tuple[int, ...] = (10, 11, 12, 13, 14, 15, 16, 17)
    """Seeds of the winner and the arms; only their numbers are quoted as results."""
    teacher: tuple[int, ...] = ()
    """Root seeds of as many teachers: the first teaches the search, and the report seeds learn from
    them in turn, so that intervals hold what another start of the teacher moves. None:
    `teacher.seed` alone."""

    def teacher_of(self, seed: int) -> int:
        """Return which of the teachers, counted from 0, a replicate of a root seed learns from."""
        several = len(self.teacher) > 1 and seed in self.report
        return self.report.index(seed) % len(self.teacher) if several else 0

    @model_validator(mode="after")
    def _teachers_have_learners(self) -> SeedSettings:
        if len({*self.teacher}) < len(self.teacher):
            raise ValueError(f"teacher seeds must all differ, but got {list(self.teacher)}.")
        if len(self.teacher) > max(1, len(self.report)):
            raise ValueError(
                "each teacher must have a report seed that learns from it, but got "
                f"{len(self.teacher)} teacher seeds and {len(self.report)} report seeds."
            )
        return self

    @model_validator(mode="after")
    def _are_distinct(self) -> SeedSettings:
        both = set(self.select) & set(self.report)
        repeated = len({*self.select}) < len(self.select) or len({*self.report}) < len(self.report)
        if both or repeated:
            raise ValueError(
                "select and report seeds must all differ, or the search would have seen the "
                f"reported ones; got select={list(self.select)}, report={list(self.report)}."
            )
        return self


class ResourceSettings(Settings):
    """What one trial may use."""

    cpus_per_trial: Annotated[float, Field(gt=0)] = 1.0
    """Logical CPUs of a trial."""
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of a trial; fractions are allowed."""
    time_budget_s: Annotated[float, Field(ge=0)] = 0.0
    """No new generation starts after this many seconds; 0 is no limit."""
    max_concurrent: Annotated[int, Field(ge=0)] = 0
    """Most workers at once; 0 is as many as there is room for."""


class StudySpec(Settings):
    """A study, resolved: every default filled in."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Folder name of its results."""
    question: str = ""
    """What it is to answer, in a sentence."""
    data: DataSettings
    teacher: TeacherSettings = TeacherSettings()
    student: StudentSettings = StudentSettings()
    search: SearchSettings = SearchSettings()
    ablation: AblationSettings | None = None
    require: Require = Require()
    seeds: SeedSettings = SeedSettings()
    resources: ResourceSettings = ResourceSettings()

    @property
    def teacher_seeds(self) -> tuple[int, ...]:
        """Root seeds of its teachers, that of the search first."""
        return self.seeds.teacher or (self.teacher.seed,)

    @property
    def asks_of_states(self) -> bool:
        """Whether it fits or scores in some states alone, or requires or seeks what is of them."""
        named = self.data.fit_states or self.data.score_states
        required = any(getattr(self.require, name) is not None for name in STATE_MEASURES)
        return bool(named) or required or any(n in OF_STATES for n in self.search.objectives)

    def with_teacher(self, index: int) -> StudySpec:
        """Return the study with one of its teachers alone, counted from 0."""
        seed = self.teacher_seeds[index]
        return self.model_copy(
            update={
                "teacher": self.teacher.model_copy(update={"seed": seed}),
                "seeds": self.seeds.model_copy(update={"teacher": ()}),
            }
        )

    @model_validator(mode="after")
    def _paths_name_student_settings(self) -> StudySpec:
        problems = []
        for path, axis in self.search.space.items():
            ends = axis.choices if isinstance(axis, Choice) else (axis.low, axis.high)
            for value in ends:
                problems += self._problem(f"search.space.{path}", {path: value})
            problems += self._hollow(path, axis)
        if not problems:
            problems += self._unmet_conditions()
        if self.ablation:
            problems += self._unfit_ablation(self.ablation)
        problems += self._futures_of_closed_forms()
        if self.student.missing_balance:
            problems.append(f"[student]: {self.student.missing_balance}.")
        if self.student.missing_sign:
            problems.append(f"[student]: {self.student.missing_sign}.")
        problems += self._forgetful("student", self.student)
        if self.teacher.seed not in (TeacherSettings().seed, self.teacher_seeds[0]):
            problems.append(
                "[seeds]: teacher must begin with teacher.seed where both are given, but got "
                f"{list(self.seeds.teacher)} and {self.teacher.seed}; leave one of them out."
            )
        if self.teacher.views == "replay" and len(self.data.fit_states_for("teacher")) == 1:
            problems.append(
                "[data]: fit_states must name two states at least for teacher.views = 'replay', "
                "which pairs the frames of one state with those of the other, but names "
                f"'{self.data.fit_states[0]}' alone; write fit_states_of = \"student\", or leave "
                "views out."
            )
        longest = max(self.teacher.horizons_ms)
        if longest >= self.data.window_ms:
            problems.append(
                "[teacher]: the longest horizon and the present bin must fit a window, "
                f"but {longest:g} ms >= data.window_ms = {self.data.window_ms:g}."
            )
        if self.student.num_neurons < self.teacher.num_dims:
            problems.append(
                "[student]: num_neurons >= teacher.latent_dim must hold for every teacher "
                f"dimension to have a pair, but {self.student.num_neurons} < "
                f"{self.teacher.num_dims}."
            )
        most_hz = 1000 / self.data.bin_ms
        for where, (low, _) in (
            ("require]: rate_hz", self.require.rate_hz),
            ("student]: rate_band_hz", self.student.rate_band_hz),
        ):
            if low >= most_hz:
                problems.append(
                    f"[{where}: a neuron fires once a bin at most, {most_hz:g} Hz with "
                    f"data.bin_ms = {self.data.bin_ms:g}, so that no rate meets a band from "
                    f"{low:g} Hz."
                )
        if self.data.split.by == "session":
            problems.append(
                "[data.split]: by must be auto, block or trial, for a study trains on each "
                "session, but is session; 'rheobase bin --split-by session' holds whole ones out."
            )
        if self.ablation and not problems:
            problems += self._unfit_inputs(self.ablation)
        if problems:
            raise ValueError(" ; ".join(dict.fromkeys(problems)))
        return self

    def _unfit_ablation(self, ablation: AblationSettings) -> list[str]:
        """Return why arms, levels or their combinations cannot be run."""
        problems = []
        for arm, overrides in ablation.arms.items():
            if arm == BASELINE:
                problems.append(f"[ablation.arms]: '{BASELINE}' names the arm without overrides.")
            if not ARM_NAME.fullmatch(arm):
                problems.append(
                    f"[ablation.arms]: an arm's name must be up to {MOST_LETTERS} letters, digits, "
                    "spaces and '-', '_', '+', '.', for it names files, but got "
                    f"'{arm[:MOST_LETTERS]}'{'…' if len(arm) > MOST_LETTERS else ''}; rename it."
                )
            if arm.startswith(TOP):
                problems.append(
                    f"[ablation.arms]: '{TOP}…' names confirmed trials; rename '{arm}'."
                )
            refused = self._problem(f"ablation.arms.{arm}", overrides)
            problems += refused
            same = not refused and override_study(self, overrides) == self
            if same and not overrides.keys() & self.search.space.keys():
                problems.append(
                    f"[ablation.arms.{arm}]: an arm must change the study, but all it sets is "
                    f"the study's own: {', '.join(overrides) or 'nothing'}; leave it out."
                )
            if ablation.order == "effect" and (others := of_tables(overrides, *READ)):
                problems.append(
                    f"[ablation.arms.{arm}]: order = 'effect' compares held-out CCA with one "
                    f"target, but {', '.join(others)} makes another; use order = 'given'."
                )
        for word in ablation.baselines:
            (path,) = BASELINES[word]
            same = override_student(self.student, BASELINES[word]) == self.student
            if same and path not in self.search.space:
                problems.append(
                    f"[ablation]: baselines must change the student, but '{word}' is the study's "
                    f"own: {path} is {_own(self.student, path)!r} already; leave it out."
                )
            problems += self._problem(f"ablation.baselines.{word}", BASELINES[word])
        for path, levels in ablation.dose.items():
            problems += self._unfit_dose(path, levels)
        if problems:
            return problems
        try:
            whole = designed(ablation)
        except StudyError as error:
            return [str(error)]
        for name, one in whole.items():
            if len(one.lifted) > 1:
                where = f"ablation: design = '{ablation.design}' asks for {name}"
                problems += self._problem(where, one.overrides)
        return problems

    def _unfit_inputs(self, ablation: AblationSettings) -> list[str]:
        """Return why arms that change [data] or [teacher] would be no study of their own."""
        problems = []
        for name, one in designed(ablation).items():
            if not of_tables(one.overrides, *READ):
                continue
            other = override_study(self, one.overrides)
            try:
                StudySpec(
                    name=self.name,
                    data=other.data,
                    teacher=other.teacher,
                    student=other.student,
                    require=self.require,
                    seeds=self.seeds,
                )
            except ValidationError as error:
                told = [each["msg"].removeprefix("Value error, ") for each in error.errors()]
                problems.append(f"[ablation] arm {name}: {' ; '.join(told)}")
        return problems

    def _unfit_dose(self, path: str, levels: Sequence[float]) -> list[str]:
        where = f"ablation.dose.{path}"
        own = value_at(self, path)
        if own is not None and (isinstance(own, bool) or not isinstance(own, int | float)):
            return [f"[{where}]: a dosed setting must be a number, but is {own!r}; use arms."]
        if refused := [one for level in levels for one in self._problem(where, {path: level})]:
            return refused
        if is_integer(path) and any(level != round(level) for level in levels):
            return [f"[{where}]: levels must be whole numbers, but are {list(levels)}."]
        if path in self.search.space:
            return [
                f"[{where}]: a dosed setting must have one value in the baseline, but it is "
                "searched; leave one of the two out."
            ]
        return []

    def _futures_of_closed_forms(self) -> list[str]:
        """Return where a student is to carry what only a trained predictor tells."""
        if self.teacher.kind == "lejepa":
            return []
        arms = self.ablation.arms if self.ablation else {}
        axis = self.search.space.get("student.target")
        asked = {
            "student": self.student.target == "future",
            "search.space.student.target": isinstance(axis, Choice) and "future" in axis.choices,
        } | {f"ablation.arms.{a}": one.get("student.target") == "future" for a, one in arms.items()}
        return [
            f"[{where}]: target = 'future' must be what a trained predictor foretells, but "
            f"teacher.kind = '{self.teacher.kind}' foretells a linear map of its own latents, "
            "which measures take for the latents; leave it out, or use teacher.kind = 'lejepa'."
            for where, is_asked in asked.items()
            if is_asked
        ]

    def _hollow(self, path: str, axis: Range | Choice) -> list[str]:
        if isinstance(axis, Choice) or not is_integer(path):
            return []
        if math.ceil(axis.low) <= math.floor(axis.high):
            return []
        return [
            f"[search.space.{path}]: an integer must lie in the range, but got "
            f"(low={axis.low:g}, high={axis.high:g})."
        ]

    def _unmet_conditions(self) -> list[str]:
        """Return why a condition can never hold."""
        problems, table, space = [], self.student.model_dump(), self.search.space
        for path, axis in space.items():
            for given, wanted in axis.when.items():
                where, key = f"search.space.{path}.when", given.removeprefix("student.")
                if unmet := self._problem(where, {given: wanted}):
                    problems += unmet
                    continue
                other = space.get(given)
                if other is None:
                    can = table[key] == wanted
                elif isinstance(other, Choice):
                    can = wanted in other.choices
                else:
                    can = is_integer(given) and other.low <= float(wanted) <= other.high
                if not can:
                    problems.append(
                        f"[{where}]: '{given}' must be able to be {wanted!r}, but the study "
                        f"{'searches' if other else 'has'} {_shown(other) or repr(table[key])}."
                    )
        left = set(space)
        while ready := {p for p in left if not left & space[p].when.keys()}:
            left -= ready
        if left:
            problems.append(
                f"[search.space]: conditions must not go round in a circle, but {sorted(left)} do."
            )
        return problems

    def _problem(self, where: str, overrides: Mapping[str, Value]) -> list[str]:
        """Return why a student with these settings can never be trained."""
        if where.startswith("search.") and (others := of_tables(overrides, *READ)):
            return [
                f"[{where}]: a setting below 'student.' must be searched, but {', '.join(others)} "
                "is the same for all trials; set it there, or make it an arm of [ablation.arms]."
            ]
        try:
            student = override_study(self, overrides).student
        except ValidationError as error:
            refused = []
            table = error.title.removesuffix("Settings").lower()
            for one in error.errors():
                path = ".".join([table, *map(str, without_union(one["loc"]))])
                named = "" if where.endswith(path) else f"{path}: "
                is_told = one["type"] == "value_error"
                found = "" if is_told else f" (found {one['input']!r})"
                told = one["msg"].removeprefix("Value error, ")
                refused.append(f"[{where}]: {named}{told}{found}")
            return refused
        except StudyError as error:
            return [f"[{where}]: {error}"]
        problems = []
        counted = overrides.keys() & {"student.num_neurons", "student.excitatory_fraction"}
        if counted and student.missing_sign:
            problems.append(f"[{where}]: {student.missing_sign}.")
        if overrides.keys() & BALANCE_PATHS and student.missing_balance:
            problems.append(f"[{where}]: {student.missing_balance}.")
        decisive = ("neuron", "type_tau_mem_ms", *student.kind.forgets_rest_over)
        if overrides.keys() & {f"student.{name}" for name in decisive}:
            problems += self._forgetful(where, student)
        return problems

    def _forgetful(self, where: str, student: StudentSettings) -> list[str]:
        """Return why windows are too short for a student that begins each of them at rest.

        Its adaptation and readout are slower and left out: windows would have to last seconds.
        """
        taus = student.kind.forgets_rest_over
        least_ms = MEMORY_TAUS * sum(student.longest(name) for name in taus)
        if least_ms <= self.data.window_ms:
            return []
        return [
            f"[{where}]: a window must be {MEMORY_TAUS} time constants of the membrane long, for "
            "the network to forget that it began at rest, but data.window_ms = "
            f"{self.data.window_ms:g} < {MEMORY_TAUS} x ({' + '.join(taus)}) = {least_ms:g}; "
            "use a longer window or smaller time constants."
        ]


def _own(student: StudentSettings, path: str) -> Any:
    return getattr(student, path.removeprefix("student."))


def _shown(axis: Range | Choice | None) -> str:
    if axis is None:
        return ""
    return str(list(axis.choices)) if isinstance(axis, Choice) else f"{axis.low:g}…{axis.high:g}"


def of_tables(overrides: Mapping[str, Any], *tables: str) -> dict[str, Any]:
    """Return those overrides, by dotted path, that are of some tables of the study file."""
    return {path: one for path, one in overrides.items() if path.partition(".")[0] in tables}


def value_at(spec: StudySpec, path: str) -> Any:
    """Return a setting by dotted path, of [student] where none names its table; None if none is."""
    table, _, key = path.rpartition(".")
    return getattr(getattr(spec, table or "student", None), key, None)


def override_study(base: StudySpec, overrides: Mapping[str, Any]) -> StudySpec:
    """Return the study with values of [data], [teacher] and [student] set by dotted path.

    Parameters
    ----------
    base
        The study.
    overrides
        As an arm sets them. A teacher of another `kind`, which is a linear map, has the linear
        encoder; no other setting changes by itself.

    Raises
    ------
    StudyError
        No arm may set it: it is unknown, of another kind, or what makes runs comparable.
    ValidationError
        A value is out of its range.
    """
    tables: dict[str, dict[str, Any]] = {}
    for path, value in of_tables(overrides, *READ).items():
        name, _, key = path.partition(".")
        settings = getattr(base, name)
        table = tables.setdefault(name, settings.model_dump())
        for kept, why in KEPT.items():
            if path == kept or (path.startswith(f"{kept}.") and kept != "data.labels"):
                raise StudyError(f"an arm must leave '{kept}' as the study has it, for {why}.")
        if name == "data" and key.startswith(LABELS):
            table["labels"] = {**table["labels"], key.removeprefix(LABELS): value}
            continue
        if key not in table:
            known = [f"{name}.{one}" for one in table if f"{name}.{one}" not in KEPT]
            raise StudyError(f"unknown key '{path}'.{did_you_mean(path, known)}")
        if told := misfit(value, type(settings).model_fields[key].annotation):
            raise StudyError(f"'{path}' must be {told}, but is {value!r}.")
        table[key] = value
        if path == "teacher.kind" and value != "lejepa":
            table["encoder"] = overrides.get("teacher.encoder", "linear")
    changed = {
        name: type(getattr(base, name)).model_validate(table) for name, table in tables.items()
    }
    return base.model_copy(update={**changed, "student": override_student(base.student, overrides)})


def override_student(base: StudentSettings, overrides: Mapping[str, Any]) -> StudentSettings:
    """Return student settings with values set by dotted path, e.g. ``student.dale``.

    Those of [data] and [teacher] are passed over: they are `override_study`'s.
    """
    table = base.model_dump()
    for path, value in overrides.items():
        room, _, key = path.partition(".")
        if room in READ:
            continue
        if room != "student" and room in StudySpec.model_fields:
            raise StudyError(
                f"a setting of [student], [teacher] or [data] must be named, but '{path}' is one "
                f"of [{room}], which is the same for all trials; set it there."
            )
        if room == "student" and key in RENAMED:
            raise StudyError(f"'{path}' is now called 'student.{RENAMED[key]}'; write that.")
        if room != "student" or key not in table:
            known = [f"student.{name}" for name in table]
            raise StudyError(f"unknown key '{path}'.{did_you_mean(path, known)}")
        if told := misfit(value, StudentSettings.model_fields[key].annotation):
            raise StudyError(f"'{path}' must be {told}, but is {value!r}.")
        table[key] = round(value) if is_integer(path) and isinstance(value, float) else value
    return StudentSettings.model_validate(table)


def load_study(path: Path) -> StudySpec:
    """Read a study file, TOML or JSON; every problem is told in one line.

    Raises
    ------
    StudyError
        The file is missing, is not TOML or JSON, has an unknown key or a value out of range.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise StudyError(
            f"{path}: a study file must be there, but there is none; check the path, or write one "
            "with 'rheobase new'"
        ) from None
    except IsADirectoryError:
        raise StudyError(
            f"{path}: a study must be a .toml file, but this is a folder; name the file in it"
        ) from None
    except OSError as error:
        raise StudyError(f"{path}: a study file must be readable, but: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StudyError(f"{path}: not valid TOML: {error}") from None
    except json.JSONDecodeError as error:
        raise StudyError(f"{path}: not valid JSON: {error}") from None
    except ValueError as error:  # a number of thousands of digits
        raise StudyError(f"{path}: a study must hold no such number: {error}") from None
    return parse_study(_beside(table, path.parent), str(path))


def _beside(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a study whose paths that lead nowhere from here lead from its file's folder."""
    data, search = table.get("data"), table.get("search")
    if isinstance(data, dict) and isinstance(data.get("sessions"), list):
        data["sessions"] = [_found(one, folder) for one in data["sessions"]]
    if isinstance(search, dict) and isinstance(search.get("warm_start"), str):
        search["warm_start"] = expanded(_found(search["warm_start"], folder))
    return table


def _found(name: Any, folder: Path) -> Any:
    if isinstance(name, str) and (parts := parts_of(name)):
        return JOIN.join(_found(part, folder) for part in parts)
    if not isinstance(name, str) or Path(expanded(name)).is_absolute() or matching(name):
        return name
    return str(folder / expanded(name)) if matching(name, beside=folder) else name


def parse_study(table: Mapping[str, Any], source: str = "study") -> StudySpec:
    """Return the study that a table describes; `source` is named in errors.

    Examples
    --------
    >>> spec = parse_study({"name": "mine", "data": {"sessions": ["mine.npz"]}})
    >>> spec.student.num_neurons, spec.data.bin_ms
    (128, 10.0)
    """
    problems = misfits(table, StudySpec) if isinstance(table, Mapping) else []
    if not problems:
        try:
            return StudySpec.model_validate(table)
        except ValidationError as error:
            problems = _sentences([dict(one) for one in error.errors()])
    raise StudyError(f"{source} {' ; '.join(dict.fromkeys(problems))}") from None


def dump_study(spec: StudySpec) -> dict[str, Any]:
    """Return the study as plain JSON values; ``parse_study`` gives the same study back."""
    return spec.model_dump(mode="json", exclude_none=True)


LONGEST_SHOWN = 60
"""Letters of a value that an error repeats."""
WANTED = {
    "tuple_type": "a list, such as [1, 2]",
    "list_type": "a list, such as [1, 2]",
    "dict_type": "a table, such as { key = 1 }",
    "mapping_type": "a table, such as { key = 1 }",
    "model_type": "a table, such as { key = 1 }",
    "model_attributes_type": "a table, such as { key = 1 }",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
}
"""What pydantic's kinds of errors ask for, in words of TOML."""


def _sentences(errors: Sequence[dict[str, Any]]) -> list[str]:
    """Return a sentence for each place at which something is wrong, whatever was tried there."""
    of_places: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for one in errors:
        of_places.setdefault(without_union(one["loc"]), []).append(one)
    told: list[str] = []
    for place, tried in of_places.items():
        if all(one["loc"] == place for one in tried):
            told += map(_sentence, tried)
            continue
        out_of_range = [
            x for x in tried if x["type"] not in WANTED and x["type"] != "literal_error"
        ]
        if out_of_range:
            told += [_sentence({**one, "loc": place}) for one in out_of_range]
            continue
        wanted = dict.fromkeys(
            WANTED.get(one["type"]) or one["ctx"]["expected"]
            for one in tried
            if one["loc"][len(place) :]
        )
        *others, last = wanted
        words = f"{', '.join(others)} or {last}" if others else last
        where = ".".join(str(part) for part in place if part not in ("range", "choice"))
        told.append(f"[{where}]: it must be {words}, but is {tried[0]['input']!r}.")
    return told


def _sentence(error: Mapping[str, Any]) -> str:
    location = [str(part) for part in error["loc"] if part not in ("range", "choice")]
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        *tables, key = location
        hint = did_you_mean(key, _keys_at(tables))
        return f"[{'.'.join(tables) or 'top level'}]: unknown key '{key}'.{hint}"
    if error["type"] == "missing":
        return f"[{'.'.join(location[:-1]) or 'top level'}]: '{location[-1]}' is required."
    if not location:
        return message
    given = error.get("input")
    if error["type"] in WANTED:
        wanted = WANTED[error["type"]]
        found = repr(given) if len(repr(given)) <= LONGEST_SHOWN else f"a {type(given).__name__}"
        as_list = f'; write ["{given}"]' if wanted.startswith("a list") and _is_str(given) else ""
        return f"[{'.'.join(location)}]: it must be {wanted}, but is {found}{as_list}."
    is_told = error["type"] == "value_error"
    shown = f" (found {given!r})" if isinstance(given, Scalar) and not is_told else ""
    if len(shown) > LONGEST_SHOWN:
        shown = f" (found {len(str(given))} letters)"
    return f"[{'.'.join(location)}]: {message}{shown}"


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


def _keys_at(tables: list[str]) -> list[str]:
    model: type[BaseModel] = StudySpec
    for name in tables:
        if name not in model.model_fields:
            return []
        annotation = model.model_fields[name].annotation
        options = [annotation, *get_args(annotation)]
        models = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)
