"""A study's plan for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from rheobase.study.file.ablation import repeated_told, tuned_trials
from rheobase.study.file.spec import StudySpec
from rheobase.study.planning.least_p import least_p_of
from rheobase.study.planning.plan import ClusterPlan, Estimate, Spread, Work
from rheobase.study.planning.trials import num_replicates, num_winners
from rheobase.study.planning.work import work_of
from rheobase.study.ranking.resampling import ALPHA

UNITS = ("B", "kB", "MB", "GB", "TB")


def plan_view(spec: StudySpec, needs: Estimate, spread: Spread | None = None) -> Group:
    """Return what will run, what it can find and what it needs, for a terminal of 80 columns."""
    work = work_of(spec, needs.num_sessions, spread)
    num_run, num_seeds = len(work.arms) - len(work.not_run), len(spec.seeds.report)
    num_teachers, num_tuned = len(spec.teacher_seeds), len(tuned_trials(spec))
    lines = [
        f"{spec.name}: {spec.question}",
        f"search: {spec.search.trials} trials x {len(spec.seeds.select)} seeds",
        *([f"tuning: {num_tuned} trials x {len(spec.seeds.select)} seeds"] * bool(num_tuned)),
        f"report: best {num_winners(spec)} and {num_run} arms x {num_seeds} seeds",
        *([f"  the report seeds learn from {num_teachers} teachers in turn"] * (num_teachers > 1)),
        *(f"  {name}: {overrides}" for name, overrides in work.arms.items()),
        *([f"  {repeated_told(work.not_run)}"] if work.not_run else []),
        *_other_inputs(work, needs),
        *_design(work),
    ]
    if num_seeds:
        least = least_p_of(spec, needs.num_sessions)
        line = f"least p of {least.num_units} {least.unit}: {least.of_one:.4g}"
        if least.num_tested:
            line += f"; {least.after_holm:.2g} after Holm over {least.num_tested} hypotheses"
        if spec.ablation and least.after_holm > ALPHA:
            line += f", which must be {ALPHA} at most: {least.num_needed} {least.unit}"
        lines += [line, *_power(work)]
    lines.append(
        f"{needs.num_sessions} sessions, {num_replicates(spec)} student networks on each, about "
        f"{duration(needs.cpu_hours_per_session)} of CPU a session"
    )
    parts: list[Table | Text] = [_sessions(needs), Text(), _needs(needs)] if needs.sessions else []
    return Group(*map(Text, lines), Text(), *parts)


def _other_inputs(work: Work, needs: Estimate) -> list[str]:
    """Return what arms alone read, and what making that takes."""
    return [
        f"  with {told}: latents of their own for {', '.join(work.other_inputs[told])}, another "
        f"target; {duration(sum(hours.values()))} of CPU"
        for told, hours in needs.cpu_hours_of_arms.items()
    ]


def _design(work: Work) -> list[str]:
    """Return how the arms are made and what is asked of them, where there is more than arms."""
    design = work.design
    if design is None:
        return []
    lines = []
    if design.resolution:
        of = ", ".join(f"{name} = {' x '.join(by)}" for name, by in design.generators.items())
        num = 2 ** (len(design.factors) - len(design.generators))
        lines.append(
            f"design: {num} of {2 ** len(design.factors)} combinations, resolution "
            f"{design.resolution}: {of}"
        )
    if work.hypotheses:
        lines.append(f"asked: {', '.join(work.hypotheses)}")
    return lines


def _power(work: Work) -> list[str]:
    power = work.power
    if power is None:
        return []
    smallest = "none" if power.smallest_dz is None else f"{power.smallest_dz:.2f} SD of a unit"
    line = f"smallest effect that {power.aim:.0%} of such studies find: {smallest}"
    if power.smallest_effect is not None:
        line += f", {power.smallest_effect:.4f} CCA"
    lines = [line]
    if power.spread:
        lines.append(f"  spread of {power.spread.source}: {power.unit_sd:.4f} CCA a unit")
        needed = power.num_units_for_least_effect
        lines.append(
            f"  an effect of {power.least_effect:g} CCA takes "
            + (f"{needed} {power.unit}" if needed else f"more than 1,000 {power.unit}")
        )
    else:
        told = ", ".join(
            f"{d_z} SD {num or 'more than 1,000'}" for d_z, num in power.num_units_for_dz.items()
        )
        lines.append(f"  {power.unit} that other effects take: {told}; --pilot RUN tells CCA")
    return [*lines, *(f"  {note}" for note in power.notes)]


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", overflow="fold")
    return table


def _sessions(needs: Estimate) -> Table:
    table = _table("one recording of", "units", "good", "spikes", "bins", "windows", "shard")
    for row in needs.sessions:
        table.add_row(
            f"{row.num_sessions} x {row.address} ({row.basis})",
            str(row.num_units),
            str(row.num_kept_units),
            f"{row.num_spikes / 1e6:.1f} M",
            f"{row.num_bins:,}",
            f"{row.train_windows + row.validation_windows + row.test_windows:,}",
            size(row.shard_bytes),
        )
    return table


def _needs(needs: Estimate) -> Table:
    table = _table("all of them", "estimate", "")
    for name, num in needs.bytes.items():
        table.add_row(f"disk, {name}", size(num), "")
    for name, hours in needs.cpu_hours.items():
        memory = f"{size(needs.memory_bytes[name])} in a process"
        table.add_row(f"{name}, CPU and memory", duration(hours), memory)
    num_all = needs.train_windows + needs.validation_windows + needs.test_windows
    held_out = f"{needs.validation_windows:,} validation, {needs.test_windows:,} test"
    table.add_row("windows", f"{num_all:,}", held_out)
    return table


def size(num_bytes: float) -> str:
    """Return bytes for people, in powers of 1000.

    Examples
    --------
    >>> size(999), size(28_700_000_000)
    ('999 B', '28.7 GB')
    """
    power = 0
    while num_bytes >= 999.5 and power < len(UNITS) - 1:
        num_bytes /= 1000
        power += 1
    return f"{num_bytes:.{0 if power == 0 else 1}f} {UNITS[power]}"


def duration(hours: float) -> str:
    """Return hours for people.

    Examples
    --------
    >>> duration(0.0005), duration(0.2), duration(148.3)
    ('1.8 s', '12 min', '148 h')
    """
    seconds = hours * 3600
    length, unit = (1, "s") if seconds < 90 else (60, "min") if seconds < 5400 else (3600, "h")
    value = seconds / length
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.2g} {unit}"


def cluster_view(plan: ClusterPlan) -> Table:
    """Return hours and money of a study on a cluster, a row a phase."""
    table = Table(
        title=f"on {plan.node}: {sum(plan.hours.values()):.2g} h, {plan.money:.2f} in all",
        box=box.SIMPLE,
        title_justify="left",
    )
    for name in ("phase", "hours", "nodes", "processes at once"):
        table.add_column(name, justify="left" if name == "phase" else "right")
    for phase, hours in plan.hours.items():
        at_once = str(plan.workers_at_once[phase])
        table.add_row(phase, f"{hours:.2g}", str(plan.nodes[phase]), at_once)
    return table
