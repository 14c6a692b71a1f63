"""What a run did, in sentences for a paper: recordings, teacher, network, search and design."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rheobase.report.tables import setting, short_name
from rheobase.sessions.readers.allen import ALLEN
from rheobase.shards.settings import DataSettings
from rheobase.student.settings import StudentSettings
from rheobase.study.file.ablation import arms_of, other_inputs, repeated_arms
from rheobase.study.file.ablation_settings import BASELINES, CONTROLS, AblationSettings
from rheobase.study.file.designs import fraction_of
from rheobase.study.file.path import is_by_effect, path_order
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.result import BASELINE, Status, TrialRecord
from rheobase.teacher.settings import TeacherSettings

MOST_NAMES = 12
"""Recordings, or arms, that are named one by one."""
SAMPLERS: Mapping[str, str] = {
    "gp": "Optuna's Gaussian process [@akiba2019]",
    "tpe": "Optuna's tree-structured Parzen estimator [@bergstra2011; @akiba2019]",
    "random": "random draws [@akiba2019]",
    "nsga2": "NSGA-II [@deb2002; @akiba2019]",
    "cmaes": "CMA-ES [@hansen2016; @akiba2019]",
}
ENDS: Mapping[Status, str] = {
    "complete": "complete",
    "pruned": "stopped early [@li2020]",
    "failed": "failed",
}
NEURON_WORDS: Mapping[str, str] = {
    "lif": "leaky integrate-and-fire neurons",
    "izhikevich": "Izhikevich neurons [@izhikevich2003]",
    "gru": "gated units, which do not spike [@cho2014]",
    "linear": "filtered input counts, with no network between",
}
ENCODERS: Mapping[str, str] = {
    "linear": "a linear",
    "mlp": "an MLP",
    "gru": "a GRU",
    "tcn": "a causal convolutional",
    "transformer": "a causal transformer",
}
CLOSED_FORMS: Mapping[str, str] = {
    "cva": "canonical variates of the filtered past with the future",
    "reduced_rank": "reduced-rank regression of the future on the filtered past",
    "pca": "principal components of the filtered counts",
    "factor_analysis": "factors of the filtered counts",
}


def num(count: int, what: str) -> str:
    """Return a count with its word.

    Examples
    --------
    >>> num(1, "session"), num(3, "hypothesis")
    ('1 session', '3 hypotheses')
    """
    plural = what[:-2] + "es" if what.endswith("sis") else what + "s"
    return f"{count:,} {what if count == 1 else plural}"


def listed(values: Iterable[object]) -> str:
    """Return values with commas, and before the last.

    Examples
    --------
    >>> listed([40.0, 160.0]), listed("abc")
    ('40 and 160', 'a, b and c')
    """
    words = [f"{one:g}" if isinstance(one, float) else str(one) for one in values]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def from_to(values: Sequence[int]) -> str:
    """Return the least and the greatest of some counts, or the one that all are."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def data_told(data: DataSettings, manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return which recordings, units and bins there were, of the shards' own manifests."""
    names = [*manifests]
    simulated = sum(bool(one.get("true_latents")) for one in manifests.values())
    what = num(len(names), "recording")
    if simulated:
        what += ", simulated" if simulated == len(names) else f", {simulated} of them simulated"
    if any(address.startswith(ALLEN) for address in data.sessions):
        what += " [@allen2022]"
    named = f" ({listed(names)})" if len(names) <= MOST_NAMES else ""
    each = "" if len(names) == 1 else " each"
    split = data.split
    groups = {
        "block": f"blocks of {split.block_s:g} s",
        "trial": "whole behaviour trials",
        "session": "whole sessions",
        "auto": f"whole behaviour trials or, of continuous recordings, blocks of {split.block_s:g} "
        "s",
    }[split.by]
    bins = [int(one["num_bins"]) for one in manifests.values() if "num_bins" in one]
    sentences = [
        f"We used {what}{named}. Spikes were counted in bins of {data.bin_ms:g} ms"
        + (f" ({from_to(bins)} bins{each})." if bins else "."),
        *_units_told(data, manifests),
        f"Bins were divided as {groups}, drawn by seed {split.seed}: {split.validation:.0%} for "
        f"validation, {split.test:.0%} for test, the others for training; {split.gap_ms:g} ms on "
        "each side of every border were thrown away.",
    ]
    if data.fit_states:
        who = {"both": "Teacher and networks", "teacher": "The teacher", "student": "Networks"}
        sentences.append(
            f"{who[data.fit_states_of]} saw the training bins of {listed(data.fit_states)} alone."
        )
    if data.score_states:
        sentences.append(f"Networks were scored in {listed(data.score_states)} alone.")
    return sentences


def _units_told(data: DataSettings, manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    told = [one for one in manifests.values() if "num_units" in one]
    if not told:
        return []
    kept = [int(one["num_units"]) for one in told]
    dropped = [sum(one.get("dropped_units", {}).values()) for one in told]
    totals = [one + more for one, more in zip(kept, dropped, strict=True)]
    each = "" if len(told) == 1 else " each"
    of_areas = f" and lie in areas that begin with {listed(data.areas)}" if data.areas else ""
    return [
        f"Of {from_to(totals)} units{each}, {from_to(kept)} pass the quality thresholds "
        f"'{data.quality}'{of_areas}."
    ]


def teacher_told(
    teacher: TeacherSettings, seeds: Sequence[int], report: Mapping[str, Any]
) -> list[str]:
    """Return what made the latents, and how many of them count."""
    dims = report.get("latents", {}).get("dimensions", teacher.num_dims)
    past = f"counts in causal exponential filters of {listed(teacher.filters_ms)} ms"
    ahead = f"{listed(teacher.horizons_ms)} ms ahead"
    if teacher.kind == "lejepa":
        start = {
            "cva": "started at canonical variates of past and future",
            "random": "started at random weights",
        }[teacher.start]
        keeps = {
            "sigreg": f"SIGReg of weight {teacher.sigreg_weight:g} over {teacher.sigreg_slices} "
            "slices",
            "vicreg": f"VICReg of weight {teacher.sigreg_weight:g}",
            "none": "no regulariser",
        }[teacher.regulariser]
        hidden = f" of {teacher.encoder_width} units" if teacher.encoder != "linear" else ""
        views = "" if teacher.views == "none" else f", views '{teacher.views}'"
        told = (
            f"The teacher was a LeJEPA [@balestriero2025] of {dims} latents: "
            f"{ENCODERS[teacher.encoder]} encoder{hidden} of {past}, "
            f"whose latents predict those {ahead}, {keeps}{views}; "
            f"{start}, at most {teacher.steps} steps a session, {teacher.batch_windows:,} samples "
            "in a batch"
        )
    else:
        told = (
            f"The teacher was a closed form of {dims} latents: {CLOSED_FORMS[teacher.kind]}, of "
            f"{past}, {ahead}"
        )
    root = f"root seed {seeds[0]}"
    if len(seeds) > 1:
        root = (
            f"{len(seeds)} such teachers of root seeds {listed(seeds)}, one after another, taught"
        )
        root += " the report seeds in turn"
    sentences = [f"{told}; {root}."]
    if report.get("dims") is not None and report.get("predictability"):
        sentences.append(
            f"{report['dims']} of {dims} latents foretold the future of the recordings above the "
            "95 % quantile of their null on validation bins; only these count."
        )
    return sentences


def network_told(student: StudentSettings) -> list[str]:
    """Return what the baseline's networks were, in the settings that ran."""
    if student.neuron == "linear":
        return [f"In the network's place stood {NEURON_WORDS['linear']}."]
    told = f"Networks were {student.num_neurons} {NEURON_WORDS[student.neuron]}"
    sentences = []
    if not student.kind.spikes:
        sentences.append(f"{told}.")
    else:
        if student.neuron == "lif":
            taus = student.type_tau_mem_ms or (student.tau_mem_ms,)
            told += f", membrane time constant {listed(taus)} ms"
            told += " at the start, learnt" if student.learn_tau else ""
            if student.refractory_ms:
                told += f", {student.refractory_ms:g} ms refractory"
            if student.tau_syn_ms:
                told += f", synaptic time constant {student.tau_syn_ms:g} ms"
            if any(gains := student.type_adaptation or (student.adaptation,)):
                told += f", threshold adaptation {listed(gains)}"
            if any(student.delays_ms):
                low, high = student.delays_ms
                told += f", spikes delayed by {low:g} to {high:g} ms, at least a bin"
        sentences.append(f"{told}; recurrent weights {_recurrence(student)}.")
        sentences += _types_and_places(student)
        sentences.append(_constraints(student))
    surrogate = (
        f" through surrogate gradients ({student.surrogate.replace('_', ' ')} of slope "
        f"{student.surrogate_slope:g}) [@neftci2019; @zenke2018]"
        if student.kind.spikes
        else ""
    )
    sentences.append(
        f"They were trained{surrogate} to share with the teacher's {student.target} what "
        f"'{student.distill}' measures of spikes in a causal filter of "
        f"{student.tau_readout_ms:g} ms: {student.steps} steps of Adam [@kingma2015], learning "
        f"rate {student.learning_rate:g}, {student.batch_windows} windows in a batch."
    )
    return sentences


def _types_and_places(student: StudentSettings) -> list[str]:
    told = []
    if student.sst_share or student.type_connection_prob:
        told.append(
            f"Of the neurons that inhibit {student.sst_share:.0%} were of a second type; numbers "
            "of types are those of excitatory neurons, of the first and of the second."
        )
    if student.type_connection_prob:
        rows = "; ".join(listed(row) for row in student.type_connection_prob)
        told.append(f"Shares of connected pairs by type, a row for each that sends: {rows}.")
    if student.connection_reach:
        told.append(
            "Connections fell with distance as a Gaussian of standard deviation "
            f"{student.connection_reach:g} in a unit square without borders."
        )
    return told


def _recurrence(student: StudentSettings) -> str:
    return {
        "trained": "trained",
        "fixed": "as drawn, not trained",
        "none": "absent",
    }[student.recurrence]


def _constraints(student: StudentSettings) -> str:
    dale = (
        f"Dale's principle held exactly, {student.excitatory_fraction:.0%} excitatory"
        if student.dale
        else "signs of weights were free"
    )
    signs = {
        "free": "input weights were free in sign",
        "excitatory": "all input weights were excitatory",
        "by_unit": "each recorded unit's input weights had one sign",
    }[student.input_signs]
    low, high = student.rate_band_hz
    rates = (
        f"rates outside {low:g} to {high:g} Hz were penalised for each neuron "
        f"{'in each window ' if student.rate_per == 'window' else ''}(weight "
        f"{student.rate_weight:g})"
        if student.rate_weight
        else "rates were free"
    )
    if student.homeostasis:
        kept = (
            f"each neuron's bias moved against its rate outside {low:g} to {high:g} Hz (gain "
            f"{student.homeostasis:g})"
        )
        rates = f"{rates}; {kept}" if student.rate_weight else kept
    balance = (
        f"inhibitory over excitatory {student.ei_of} were held at {student.ei_balance:g} for each "
        f"{student.ei_per}"
        if student.ei_balance
        else "the balance of excitation and inhibition was free"
    )
    return f"In the baseline {dale}; {signs}; {rates}; {balance}."


def search_told(spec: StudySpec, records: Sequence[TrialRecord]) -> list[str]:
    """Return what was searched, how many trials ended how, and what else chose settings."""
    tried = [one for one in records if one.request.stage == "select"]
    space = spec.search.space
    if not space or len(tried) < 2:
        sentences = ["Nothing was searched: the baseline has the settings that the study sets."]
    else:
        ended = Counter(one.status for one in tried)
        sentences = [
            f"{SAMPLERS[spec.search.sampler]} proposed {num(len(tried), 'setting')} of "
            f"{listed(short_name(path).replace('_', ' ') for path in space)} on seeds "
            f"{listed(spec.seeds.select)} (root seed {spec.search.seed}; "
            + ", ".join(f"{ended[name]} {word}" for name, word in ENDS.items() if ended[name])
            + "), scored on validation bins."
        ]
        chosen = (
            "the feasible trial of highest held-out CCA"
            if len(spec.search.objectives) == 1
            else f"the knee of the front of {listed(spec.search.objectives)}, where there is one"
        )
        if rank_study(spec, records).best is None:
            chosen = "the trial that came nearest, for none was feasible"
        sentences.append(f"The baseline is {chosen}.")
    tuned = Counter(one.request.arm for one in records if one.request.stage == "tune")
    if tuned and spec.ablation is not None:
        if is_by_effect(spec):
            sentences.append(
                f"The order of the path was chosen on validation bins, in {tuned.total()} trials "
                f"[@fawcett2016]: {listed(path_order(spec, records))}."
            )
        else:
            sentences.append(
                "Settings of "
                + listed(f"{arm} ({num(count, 'trial')})" for arm, count in tuned.items())
                + " were chosen on validation bins in searches of their own."
            )
    return sentences


def design_told(spec: StudySpec, records: Sequence[TrialRecord]) -> list[str]:
    """Return what the ablation lifted, combined and dosed, and what of it ran."""
    ablation = spec.ablation
    if ablation is None:
        return ["There was no ablation."]
    sentences = _lifted(ablation)
    if ablation.dose:
        sentences += [
            f"{short_name(path).replace('_', ' ')} was set to {listed(levels)}."
            for path, levels in ablation.dose.items()
        ]
    for controls, what in ((False, "Also compared alone"), (True, "Controls, no hypotheses")):
        words = [word for word in ablation.baselines if (word in CONTROLS) == controls]
        if words:
            told = [f"{word} ({_sets(BASELINES[word])})" for word in words]
            sentences.append(f"{what}: {listed(told)}.")
    sentences.append(
        "Every other setting was the baseline's."
        if ablation.mode == "held"
        else "Each arm that lifts or doses had a search of its own, as large as the baseline's."
    )
    sentences += [
        f"{listed(arms)} read {told}: latents of a teacher of their own, which are another target."
        for told, arms in other_inputs(spec).items()
    ]
    base = baseline_of(records)
    repeated = repeated_arms(spec, base) if base else repeated_arms(spec)
    if repeated:
        same = listed(f"{arm} is {other}" for arm, other in repeated.items())
        sentences.append(f"Settings that are the same were run once: {same}.")
    ran = {one.request.arm for one in records if one.request.stage == "report" and one.result}
    lacks = [arm for arm in arms_of(spec) if arm not in ran and arm not in repeated]
    if lacks:
        sentences.append(f"Without a result: {listed(lacks)}.")
    return sentences


def _lifted(ablation: AblationSettings) -> list[str]:
    if not ablation.arms:
        return []
    factors = listed(f"{name} ({_sets(of)})" for name, of in ablation.arms.items())
    count, part = len(ablation.arms), fraction_of(ablation)
    if part is not None:
        runs = 2 ** (count - len(part.generators))
        words = listed(f"{name} = {' x '.join(of)}" for name, of in part.generators.items())
        told = (
            f"a fractional factorial of {runs} combinations and resolution {part.resolution} "
            f"[@box1961], generated by {words}"
        )
    else:
        told = {
            "factorial": f"a full factorial of {2**count} combinations [@box2005]",
            "path": "a path that lifts one after another",
            "leave-one-out": "each lifted alone",
        }[ablation.design]
    return [f"The ablation lifted {num(count, 'factor')}, {factors}, in {told}."]


def _sets(overrides: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{short_name(path).replace('_', ' ')} {setting(value)}"
        for path, value in overrides.items()
    )


def baseline_of(records: Sequence[TrialRecord]) -> StudentSettings | None:
    """Return the settings with which the baseline ran on the report seeds; None before that."""
    for one in records:
        if one.request.stage == "report" and one.request.arm == BASELINE:
            return StudentSettings.model_validate(one.request.student)
    return None
