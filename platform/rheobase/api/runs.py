"""A stored run in a notebook: tables, figures and networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rheobase.cli.results import record_of
from rheobase.core.errors import ArtifactError, StudyError
from rheobase.report.effect_tables import effect_rows
from rheobase.report.tables import arrow_table, flat_row, flat_rows
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.effect_table import effects_of
from rheobase.study.ranking.rank import rank_study
from rheobase.study.ranking.ranking import MeasuredTrial, RankedTrial, Ranking
from rheobase.study.ranking.statistics import compare_arms
from rheobase.study.records.result import BASELINE, TrialRecord
from rheobase.study.run_folder import RunFolder

if TYPE_CHECKING:
    from rheobase.api.figures import Figures
    from rheobase.study.networks.portable.network_torch import Gated, Lif

TableName = Literal["trials", "replicates", "effects", "arms"]
Kind = Literal["arrow", "pandas", "polars"]


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial of a run.

    Attributes
    ----------
    run
        The run.
    row
        Its row of the ranking: `cca_heldout`, `rate_hz`, `tier` and all else of docs/measures.md.
    record
        What the ledger holds of it.

    Examples
    --------
    >>> import numpy as np
    >>> best = load_run(folder).best
    >>> best.row.arm, best.settings["num_neurons"]
    ('baseline', 8)
    >>> network = best.network()
    >>> network(np.zeros((50, len(network.unit_id)))).shape
    torch.Size([50, 8])
    """

    run: Run
    row: RankedTrial
    record: TrialRecord

    @property
    def trial_id(self) -> str:
        """Its id, of which commands take the first letters."""
        return self.record.request.trial_id

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its whole [student] table."""
        return self.record.request.student

    def network(self, seed: int | None = None, session: str | None = None) -> Lif | Gated:
        """Return a trained network as a `torch.nn.Module`, the first unless one is named.

        Parameters
        ----------
        seed, session
            Which of its networks.

        Raises
        ------
        ArtifactError
            The run does not hold its weights, or what it rests on is not there.
        DataError
            The trial has no such network.
        ConstraintError
            It is of neurons that `rheobase export --format npz` alone can say.
        """
        from rheobase.api.networks import network_of

        return network_of(self.run.path, self.record.request, seed, session)

    def __repr__(self) -> str:
        told = (
            f", CCA {self.row.cca_heldout.mean:.3f}" if isinstance(self.row, MeasuredTrial) else ""
        )
        return f"Trial({self.trial_id[:8]}: {self.row.arm}, {self.row.tier}{told})"


@dataclass(frozen=True, eq=False)
class Run:
    """A stored run; what its trials are is read once, when it is first asked for.

    Attributes
    ----------
    path
        Its folder.

    Examples
    --------
    >>> run = load_run(folder)
    >>> run.table("replicates", "arrow").num_rows
    8
    >>> run.best.row.arm
    'baseline'
    """

    path: Path

    @property
    def folder(self) -> RunFolder:
        """Where its files lie."""
        return RunFolder(self.path)

    @cached_property
    def spec(self) -> StudySpec:
        """Its study, every default filled in."""
        return self.folder.read_study()

    @cached_property
    def records(self) -> tuple[TrialRecord, ...]:
        """Every trial of its ledger."""
        return self.folder.read_records()

    @cached_property
    def ranking(self) -> Ranking:
        """Its ranking, as ``rheobase rank --json`` prints it."""
        return rank_study(self.spec, self.records)

    @property
    def best(self) -> Trial:
        """The winner on the report's seeds; before the report stage, the search's best.

        Raises
        ------
        StudyError
            No trial is complete.
        """
        return self.trial()

    def trial(self, trial_id: str | None = None) -> Trial:
        """Return a trial by the first letters of its id, or the best one.

        Raises
        ------
        StudyError
            No trial, or more than one, is named so; or none is complete.
        """
        rows = {row.trial_id: row for row in (*self.ranking.trials, *self.ranking.confirmed)}
        if trial_id is None:
            won = [row for row in self.ranking.confirmed if row.arm == BASELINE]
            found = [row for row in (*won, *self.ranking.trials) if isinstance(row, MeasuredTrial)]
            first = [row for row in found if row in won or row.trial_id == self.ranking.best]
            if not found:
                raise StudyError(
                    f"{self.path}: a complete trial must be there, but none is; go on with "
                    "'rheobase run --resume'"
                )
            trial_id = (first or found)[0].trial_id
        record = record_of(self.path, trial_id, self.records)
        if record.request.trial_id not in rows:
            raise StudyError(
                f"{self.path}: a trial that has ended must be named, but {trial_id} is "
                f"{record.status}; wait for it"
            )
        return Trial(self, rows[record.request.trial_id], record)

    @property
    def trials(self) -> Any:
        """A pandas table with a row for each trial, of the search and of the report stage."""
        return self.table("trials", "pandas")

    @property
    def replicates(self) -> Any:
        """A pandas table with a row for each network: trial, seed, session, and its measures."""
        return self.table("replicates", "pandas")

    @property
    def effects(self) -> Any:
        """A pandas table with a row for each effect of the design, as ``rheobase compare`` has it.

        Main effects, interactions, steps, trends and arms: mean, interval, p, size, equivalence.
        Raises a StudyError of a study without an ablation, or before its baseline has results.
        """
        return self.table("effects", "pandas")

    def table(self, name: TableName, kind: Kind = "arrow") -> Any:
        """Return a table of the run.

        Parameters
        ----------
        name
            ``trials``, ``replicates`` or ``effects``; or ``arms``, each minus the baseline.
        kind
            Of which library it is.

        Raises
        ------
        StudyError
            There is no such table or kind.
        """
        if name == "trials":
            rows = flat_rows(self.ranking)
        elif name == "effects":
            rows = effect_rows(effects_of(self.spec, self.records))
        elif name == "arms":
            found = compare_arms(self.spec, self.records)
            rows = [flat_row(one.model_dump(mode="json")) for one in found]
        elif name == "replicates":
            rows = [
                {
                    "trial_id": record.request.trial_id,
                    "arm": record.request.arm,
                    "stage": record.request.stage,
                    **_named(one.model_dump(mode="json")),
                }
                for record in self.records
                if record.result
                for one in record.result.replicates
            ]
        else:
            raise StudyError(
                f"a table must be trials, replicates, effects or arms, but got '{name}'"
            )
        columns = dict.fromkeys(column for row in rows for column in row)
        table = arrow_table([{column: row.get(column) for column in columns} for row in rows])
        if kind == "arrow":
            return table
        if kind == "pandas":
            return table.to_pandas()
        if kind == "polars":
            polars = import_module("polars")
            return polars.from_arrow(table)
        raise StudyError(f"a table must be of arrow, pandas or polars, but got '{kind}'")

    @property
    def figures(self) -> Figures:
        """The figures of its report, one method each."""
        from rheobase.api.figures import Figures

        return Figures(self)

    def __repr__(self) -> str:
        return f"Run({self.spec.name!r}: {len(self.records)} trials in {self.path})"


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one replicate with one scalar a column, as `flat_row` names them."""
    plain = {key: value for key, value in row.items() if key != "cca_heldout"}
    return {
        "seed": row["seed"],
        "session": row["session"],
        "cca_heldout": row["cca_heldout"],
        **flat_row(plain),
    }


def load_run(path: str | Path) -> Run:
    """Return a stored run.

    Parameters
    ----------
    path
        Folder of the run, as ``runs/studies/quickstart``.

    Raises
    ------
    ArtifactError
        The folder is not of a run, or of one that a newer rheobase wrote.

    Examples
    --------
    >>> run = load_run(folder)
    >>> len(run.trials), len(run.effects)
    (4, 1)
    >>> load_run("nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    rheobase.core.errors.ArtifactError: nowhere: the folder of a run must be named, ...
    """
    folder = Path(path)
    if not RunFolder(folder).study.is_file():
        raise ArtifactError(
            f"{folder}: the folder of a run must be named, but it has no study.json; 'rheobase "
            "run' tells its folder at the end"
        )
    run = Run(folder)
    run.spec, run.records  # noqa: B018 - what cannot be read is told here
    return run
