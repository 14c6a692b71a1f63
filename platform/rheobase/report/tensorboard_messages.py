"""What TensorBoard is told of a study: columns, settings, numbers, text, histograms, pictures."""

# Shape legend: T bins, M neurons, E entries, O bins of a histogram.

from __future__ import annotations

import io
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.image import imsave
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.hparams import metadata, summary_v2
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.util.tensor_util import make_tensor_proto

from rheobase.report.tables import outcome
from rheobase.study.file.ablation import arms_of
from rheobase.study.file.search_settings import Choice, Scalar, is_integer
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.ranking import TIERS, RankedTrial
from rheobase.study.records.result import BASELINE, OF_SEED, STAGES, TOP, TrialRequest

FINAL = "final"
TRAIN = "curves"
SEEDS = "seeds"
RUNNING = "running"
OUTCOMES = (*TIERS[:3], "pruned", *TIERS[3:], RUNNING)
METRICS = {
    "rank": ("rank", "Place in the ranking of its stage, 1 the best; as of the last trial's end"),
    "cca_heldout": ("held-out CCA", "Search: on validation; report: on test, which alone counts"),
    "gain": ("gain", "Held-out CCA minus that of the same network untrained"),
    "rate_hz": ("rate (Hz)", "Mean firing rate on the scored bins"),
    "violation": ("violation", "Sum of what lies beyond the lines of feasibility; 0 is feasible"),
    "feasible": ("feasible", "1 where every line of feasibility holds, else 0"),
    "in_band": ("in band", "Share of neurons inside the required band of rates"),
    "closed": ("closed", "Share of what the untrained network left that training closed"),
    "untrained": ("untrained", "Held-out CCA of the same network before training"),
    "linear_readout": ("linear readout", "Held-out CCA of the best linear map of past counts"),
    "cca_cross_state": ("across states", "Held-out CCA fitted in one state, scored in another"),
    "cca_within_state": ("within states", "Held-out CCA fitted and scored in the same state"),
    "state_cost": ("state cost", "Within minus across states: what a change of state costs"),
    "null_shift_q95": ("shift null", "95 % quantile, the largest of any replicate"),
    "null_clock_q95": ("clock null", "95 % quantile, the largest of any replicate"),
    "null_session_q95": ("session null", "95 % quantile of other sessions' teachers"),
    "null_drift": ("drift", "Held-out CCA of functions of time and state"),
    "cca_validation": ("CCA on validation", "In every stage"),
    "cca_all_dims": ("CCA, all dims", "Also over dimensions that predict nothing"),
    "procrustes": ("Procrustes", "Distance of the shapes; 0 is the same"),
    "reliability": ("reliability", "How little features hang on what went before"),
    "cv_isi": ("CV of ISI", "Coefficient of variation of inter-spike intervals"),
    "ei_current_balance": ("E/I currents", "Inhibitory over excitatory current after training"),
    "ei_current_before": ("E/I untrained", "The same before the first step"),
    "ei_weight_balance": ("E/I weights", "Inhibitory over excitatory recurrent weight"),
    "recurrent_share": ("recurrent share", "Of the magnitude of synaptic current"),
}
"""Final numbers: the name shown, and what it is. TensorBoard shows the first five unasked."""
INTERIM = ("CCA in training", "The last report's, of pruned trials too; on part of a session")


def run_name(request: TrialRequest | RankedTrial, ended: str) -> str:
    """Return the name of a trial's run, for people: ``search/007-passed``, ``report/no-dale``."""
    stage = STAGES[request.stage]
    number = f"{request.number:03d}"
    if request.stage != "report":
        return f"{stage}/{number}-{ended}"
    arm = re.sub(r"[^\w.+=-]+", "-", request.arm)
    return f"{stage}/{arm}" + (f"-{RUNNING}" if ended == RUNNING else "")


def declaration(spec: StudySpec) -> Summary:
    """Return the columns of the comparison: what is searched, and what the ranking says."""
    arms = [BASELINE, *(f"{TOP}{place}" for place in range(2, spec.search.confirm + 1))]
    arms += [arm for arm in arms_of(spec) if arm not in arms]
    stages = [stage for stage in STAGES.values() if stage != "audit" or spec.search.stop]
    hparams = [
        summary_v2.HParam("tier", summary_v2.Discrete(OUTCOMES), "tier", "How it ended"),
        summary_v2.HParam("arm", summary_v2.Discrete(arms), "arm", "What the ablation changes"),
        *_searched(spec),
        summary_v2.HParam("stage", summary_v2.Discrete(stages), "stage", "Whose seeds it ran on"),
    ]
    metrics = [
        summary_v2.Metric(f"{FINAL}/{name}", display_name=shown, description=told)
        for name, (shown, told) in METRICS.items()
    ]
    metrics.append(
        summary_v2.Metric(f"{TRAIN}/cca_heldout", display_name=INTERIM[0], description=INTERIM[1])
    )
    declared: Summary = summary_v2.hparams_config_pb(hparams=hparams, metrics=metrics)
    (value,) = declared.value
    experiment = metadata.parse_experiment_plugin_data(value.metadata.plugin_data.content)
    # TensorBoard shows five columns unasked: those said to differ first, by the alphabet in each.
    for info in [one for one in experiment.hparam_infos if one.name != "stage"][:5]:
        info.differs = True
    content = HParamsPluginData(experiment=experiment)
    value.metadata.CopyFrom(metadata.create_summary_metadata(content))
    return declared


def _searched(spec: StudySpec) -> list[summary_v2.HParam]:
    """Return a column for each searched setting, wide enough for the arms' values too."""
    overrides = list(arms_of(spec).values())
    found = []
    for path, axis in spec.search.space.items():
        own = spec.student.model_dump(mode="json")[path.removeprefix("student.")]
        others = [own, *(one[path] for one in overrides if path in one)]
        name = path.removeprefix("student.")
        if isinstance(axis, Choice):
            domain = summary_v2.Discrete(_choices(axis, others))
            told = "one of a few values"
        else:
            scale = "a logarithmic" if axis.log else "a linear"
            told = f"searched from {axis.low:g} to {axis.high:g} on {scale} scale"
            name += " (log)" if axis.log else ""
            numbers = [axis.low, axis.high, *(one for one in others if one is not None)]
            low, high = min(numbers), max(numbers)
            whole = is_integer(path)
            domain = (
                summary_v2.IntInterval(int(low), int(high))
                if whole
                else summary_v2.RealInterval(float(low), float(high))
            )
        found.append(summary_v2.HParam(path, domain, name, told))
    return found


def _choices(axis: Choice, others: Sequence[Scalar]) -> list[Scalar]:
    """Return what a setting may be, as text where TensorBoard would mix types in a column."""
    values = list(dict.fromkeys([*axis.choices, *others]))
    types = {type(value) for value in values}
    if types <= {int, float}:
        return [float(value) for value in values]
    return values if len(types) == 1 else list(dict.fromkeys(map(str, values)))


def settings(spec: StudySpec, request: TrialRequest, ended: str, started_s: float) -> Summary:
    """Return a trial's values in the columns; its group is named as its run is."""
    values: dict[str, Any] = {
        "tier": ended,
        "arm": request.arm if request.stage == "report" else BASELINE,
        "stage": STAGES[request.stage],
    }
    for path, axis in spec.search.space.items():
        value = request.student.get(path.removeprefix("student."))
        if value is not None:
            is_text = isinstance(axis, Choice) and isinstance(_choices(axis, [value])[0], str)
            values[path] = str(value) if is_text else value
    made: Summary = summary_v2.hparams_pb(
        values, trial_id=run_name(request, ended), start_time_secs=started_s
    )
    return made


def end(failed: bool, ended_s: float) -> Summary:
    """Return how a trial ended: stopping early is no failure."""
    info = SessionEndInfo(
        status=STATUS_FAILURE if failed else STATUS_SUCCESS, end_time_secs=ended_s
    )
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(HParamsPluginData(session_end_info=info)),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])


def scalars(values: Mapping[str, float]) -> Summary:
    """Return numbers by tag."""
    return Summary(
        value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    )


def curves(values: Mapping[str, float]) -> Summary:
    """Return what a training reports: means over seeds, and each seed as a curve of its own."""
    tags = {}
    for name, value in values.items():
        measure, _, seed = name.partition(OF_SEED)
        tags[f"{SEEDS}/{measure}/seed-{seed}" if seed else f"{TRAIN}/{name}"] = value
    return scalars(tags)


def final(row: RankedTrial) -> dict[str, float]:
    """Return a trial's final numbers by name, those that there are, without its rank."""
    values = {
        **{name: getattr(row, name, None) for name in METRICS},
        "cca_heldout": row.cca_heldout.mean,
        "rate_hz": row.rate_hz.mean,
        "in_band": row.rate_hz.in_band,
        "state_cost": row.state_cost.mean if row.state_cost else None,
        **_by_state(row),
        "ei_current_balance": row.ei_current_balance.after,
        "ei_current_before": row.ei_current_balance.before,
        "ei_weight_balance": row.ei_weight_balance.after,
        "feasible": None if row.status == "pruned" else float(row.is_feasible),
        "rank": None,
    }
    values |= {
        f"ei_current_balance/{state}": found
        for state, found in row.ei_current_balance.per_state.items()
    }
    return {name: value for name, value in values.items() if value is not None}


def _by_state(row: RankedTrial) -> dict[str, float]:
    """Return rates by state, and CCA by fitted and scored state."""
    found: dict[str, float] = {}
    for state, rates in row.rate_hz.per_state.items():
        if rates is not None:
            found |= {f"rate_hz_{state}": rates.mean, f"in_band_{state}": rates.in_band}
    for fitted, scores in row.cca_by_states.items():
        found |= {f"cca_{fitted}_to_{scored}": value for scored, value in scores.items()}
    return found


def layout() -> Summary:
    """Return the page of charts that lay the seeds' curves over one another."""
    charts = [
        layout_pb2.Chart(
            title=title,
            multiline=layout_pb2.MultilineChartContent(
                tag=[f"{TRAIN}/{name}$", f"{SEEDS}/{name}/.*"]
            ),
        )
        for name, title in (("cca_heldout", "held-out CCA"), ("rate_hz", "rate (Hz)"))
    ]
    category = layout_pb2.Category(title="Mean and seeds while training", chart=charts)
    page = layout_pb2.Layout(category=[category])
    value = Summary.Value(
        tag=layout_metadata.CONFIG_SUMMARY_TAG,
        metadata=layout_metadata.create_summary_metadata(),
        tensor=make_tensor_proto(page.SerializeToString(), dtype="string"),
    )
    return Summary(value=[value])


def text(tag: str, markdown: str) -> Summary:
    """Return a text; TensorBoard shows its Markdown."""
    value = Summary.Value(
        tag=tag,
        metadata=text_metadata.create_summary_metadata(display_name="", description=""),
        tensor=make_tensor_proto([markdown.encode()], dtype="string"),
    )
    return Summary(value=[value])


def settings_text(spec: StudySpec, request: TrialRequest) -> str:
    """Return every resolved setting of a trial as a table, those that were set marked."""
    seeds = ", ".join(map(str, request.seeds))
    lines = [
        f"Trial `{request.trial_id}`, number {request.number} of **{spec.name}**, "
        f"{STAGES[request.stage]} stage, arm {request.arm}, seeds {seeds}.",
        "",
        "| setting | value | set by |",
        "|---|---|---|",
    ]
    for name, value in request.student.items():
        path = f"student.{name}"
        by = "study"
        if path in request.params:
            by = "search" if path in spec.search.space else "arm"
        shown = f"{value:.6g}" if isinstance(value, float) else value
        lines.append(f"| {name} | {'**' if by != 'study' else ''}{shown}"
                     f"{'**' if by != 'study' else ''} | {by} |")  # fmt: skip
    return "\n".join(lines)


def outcome_text(row: RankedTrial, error: str | None) -> str:
    """Return how a trial ended and why, in sentences."""
    lines = [f"**{outcome(row)}**" + (f": {error}" if error else "")]
    if row.why:
        lines += ["", "What does not hold:", "", *(f"- {one}" for one in row.why)]
    if row.notes:
        lines += ["", "What is missing or to be minded:", "", *(f"- {note}" for note in row.notes)]
    return "\n".join(lines)


def picture(tag: str, png: bytes) -> Summary:
    """Return an image from the bytes of a PNG file."""
    width, height = struct.unpack(">II", png[16:24])
    image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def spike_map(spikes: npt.NDArray[np.uint8], signs: npt.NDArray[np.int8]) -> bytes:
    """Return spikes (T, M) as a PNG: time to the right, inhibitory neurons above, in red."""
    order = np.argsort(-signs, kind="stable")[::-1]
    fired, signs = spikes[:, order].T > 0, signs[order]
    pixels = np.full((*fired.shape, 3), 255, np.uint8)
    pixels[fired & (signs > 0)[:, None]] = (0, 114, 178)
    pixels[fired & (signs < 0)[:, None]] = (213, 94, 0)
    tall, wide = max(1, 320 // len(signs)), max(1, 900 // fired.shape[1])
    page = io.BytesIO()
    enlarged = pixels.repeat(tall, axis=0).repeat(wide, axis=1)
    imsave(page, enlarged, format="png", metadata={})
    return page.getvalue()


def histogram(tag: str, values: npt.NDArray[Any]) -> Summary:
    """Return the distribution of values (E,) in 40 bins; nothing of none."""
    values = values[np.isfinite(values)].astype(float)
    if not len(values):
        return Summary()
    counts, edges = np.histogram(values, 40)
    proto = HistogramProto(
        min=values.min(),
        max=values.max(),
        num=len(values),
        sum=values.sum(),
        sum_squares=np.square(values).sum(),
        # The first bucket's left edge is the right one of an empty bucket before it.
        bucket_limit=edges,
        bucket=[0, *counts],
    )
    return Summary(value=[Summary.Value(tag=tag, histo=proto)])
