"""Figures of a design, held to effects that are known."""

import re

import pytest

from rheobase.report import ablation_figures
from rheobase.report.figures import svg_of
from rheobase.study.file.ablation import arms_of
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.effect_table import effects_of

ARMS = {
    "a": {"student.dale": False},
    "b": {"student.rate_weight": 0.0},
    "c": {"student.surrogate_slope": 100.0},
}


def study(**ablation):
    return parse_study({"name": "x", "data": {"sessions": ["n.nwb"]}, "ablation": ablation})


@pytest.fixture
def records_of(trial_of, replicate_of):
    """Build every arm's trial, its held-out CCA told by a function of the arm's name."""

    def build(spec, cca, but=()):
        return [
            trial_of(
                number,
                [
                    replicate_of(seed, cca(arm) + seed / 1000, session)
                    for session in "nmopqr"
                    for seed in range(2)
                ],
                stage="report",
                arm=arm,
            )
            for number, arm in enumerate(["baseline", *arms_of(spec)])
            if arm not in but
        ]

    return build


def crossed(arm):
    lifted = arm.split("+")
    return 0.5 + 0.1 * ("a" in lifted) + 0.04 * ("a" in lifted and "b" in lifted)


def words_of(figure):
    """Return all that a figure says, as text that can be found and read aloud."""
    return re.sub(r"<[^>]+>", " ", " ".join(re.findall(r"<text.*?</text>", svg_of(figure), re.S)))


@pytest.mark.parametrize("design", ["factorial", "fractional"])
def test_means_of_cells_give_the_interactions(records_of, design):
    arms = ARMS if design == "factorial" else {**ARMS, "d": {"student.tau_mem_ms": 10.0},
                                               "e": {"student.adaptation": 0.1}}  # fmt: skip
    spec = study(arms=arms, design=design)
    records = records_of(spec, crossed)
    effects, rows = effects_of(spec, records), ablation_figures.cell_rows(spec, records)
    for one in effects.interactions:
        of = {(row["is_lifted"], row["other_is_lifted"]): row["cca_heldout"]
              for row in rows if (row["factor"], row["other"]) == one.factors}  # fmt: skip
        apart = (of[True, True] - of[False, True]) - (of[True, False] - of[False, False])
        assert one.mean == pytest.approx(apart / 2)
    assert effects.interactions[0].mean == pytest.approx(0.02)
    assert "x b, p Holm" in words_of(ablation_figures.interactions(effects, rows))


def test_combinations_that_have_not_all_run_have_no_means(records_of):
    spec = study(arms=ARMS, design="factorial")
    assert ablation_figures.cell_rows(spec, records_of(spec, crossed, but=["a+b"])) == []
    assert ablation_figures.cell_rows(study(arms=ARMS), []) == []


def test_a_forest_tells_what_is_corrected_and_what_is_not(records_of):
    spec = study(arms=ARMS, baselines=["untrained"])
    effects = effects_of(spec, records_of(spec, crossed))
    figure = ablation_figures.forest(effects)
    told = words_of(figure)
    assert "p corrected over 3" in told
    assert told.count("p Holm") == 3
    assert told.count("uncorrected") == 1
    rings = [line.get_markerfacecolor() == "white" for line in figure.axes[0].lines
             if line.get_marker() == "o" and len(line.get_xdata())]  # fmt: skip
    assert rings == [False, False, False, True]


def test_levels_stand_in_order_with_the_line_of_their_trend(records_of):
    spec = study(dose={"student.num_neurons": [256, 32, 64]})
    at = {"baseline": 128, **{f"num_neurons={n}": n for n in (32, 64, 256)}}
    records = records_of(spec, lambda arm: 0.4 + at[arm] / 1000)
    effects, rows = effects_of(spec, records), ablation_figures.dose_rows(spec, records)
    assert [row["level"] for row in rows] == [32, 64, 128, 256]
    assert [row["arm"] for row in rows][2] == "baseline"
    (axes,) = ablation_figures.doses(effects, rows).axes
    (line,) = [one for one in axes.lines if one.get_linestyle() == "--"]
    x, y = line.get_xdata(), line.get_ydata()
    assert y[-1] - y[0] == pytest.approx(effects.trends[0].mean) == pytest.approx(0.224)
    assert (x[0], x[-1]) == (32, 256)
    assert y == pytest.approx(0.4005 + x / 1000)


def test_a_path_says_what_each_step_adds(records_of):
    spec = study(arms=ARMS, design="path")
    records = records_of(spec, {"baseline": 0.5, "a": 0.6, "a+b": 0.55, "a+b+c": 0.8}.get)
    effects = effects_of(spec, records)
    rows = ablation_figures.path_rows(spec, records, effects)
    assert [row["step"] for row in rows] == ["baseline", "+ a", "+ b", "+ c"]
    assert [row["adds"] for row in rows[1:]] == pytest.approx([0.1, -0.05, 0.25])
    told = words_of(ablation_figures.path(rows))
    assert "+0.250, p Holm" in told
    assert (
        ablation_figures.path_rows(
            study(arms=ARMS), records[:2], effects_of(study(arms=ARMS), records[:2])
        )
        == []
    )


def test_a_design_without_them_has_no_such_figures(records_of):
    spec = study(arms=ARMS)
    effects = effects_of(spec, records_of(spec, crossed))
    assert ablation_figures.interactions(effects, []) is None
    assert ablation_figures.doses(effects, []) is None
    assert ablation_figures.path([]) is None
