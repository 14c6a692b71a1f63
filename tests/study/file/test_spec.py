import pytest

from rheobase.core.errors import StudyError
from rheobase.study.file.spec import dump_study, load_study, parse_study

LEAST = {"name": "x", "data": {"sessions": ["a.nwb"]}}
CHOICE = "student.surrogate"
FRACTION = {"student.excitatory_fraction": 1.5}


def slope_when(condition):
    return {"student.surrogate_slope": {"low": 1.0, "high": 9.0, "when": condition}}


CIRCLE = {
    "student.surrogate": {"choices": ["atan", "fast_sigmoid"], "when": {"student.dale": True}},
    "student.dale": {"choices": [True, False], "when": {"student.surrogate": "atan"}},
}


def test_a_study_survives_being_written_and_read():
    space = {"student.rate_weight": {"low": 1e-4, "high": 1.0, "log": True}}
    spec = parse_study({**LEAST, "search": {"space": space}})
    assert parse_study(dump_study(spec)) == spec


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"student": {"dalle": True}}, "Did you mean 'dale'?"),
        ({"ablation": {"arms": {"a": {"student.dalle": 1}}}}, "Did you mean 'student.dale'?"),
        ({"serch": {}}, "Did you mean 'search'?"),
        (
            {"teacher": {"kind": "cva"}, "student": {"target": "future"}},
            "[student]: target = 'future' must be what a trained predictor foretells, but "
            "teacher.kind = 'cva' foretells a linear map of its own latents",
        ),
        (
            {
                "teacher": {"kind": "pca"},
                "ablation": {"arms": {"ahead": {"student.target": "future"}}},
            },
            "[ablation.arms.ahead]: target = 'future' must be",
        ),
        (
            {
                "teacher": {"kind": "pca"},
                "search": {"space": {"student.target": {"choices": ["latents", "future"]}}},
            },
            "[search.space.student.target]: target = 'future' must be",
        ),
        ({"student": {"target": "position"}}, "[student.target]: what is carried must be"),
        ({"student": {"excitatory_fraction": 4.0}}, "For a 4:1 ratio write 0.8."),
        (
            {"student": {"excitatory_fraction": 0}},
            "[student.excitatory_fraction]: 0 < excitatory_fraction < 1 must hold, but got 0.0.",
        ),
        (
            {"search": {"space": {"student.excitatory_fraction": {"low": 0.5, "high": 1}}}},
            "[search.space.student.excitatory_fraction]: 0 < excitatory_fraction < 1 must hold",
        ),
        (
            {"search": {"space": {"student.excitatory_fraction": {"choices": [0.8, 4]}}}},
            "For a 4:1 ratio write 0.8.",
        ),
        (
            {"ablation": {"arms": {"a": {"student.dale": False, **FRACTION}}}},
            "[ablation.arms.a]: student.excitatory_fraction: 0 < excitatory_fraction < 1 must hold",
        ),
        (
            {"data": {"sessions": ["a.nwb"], "window_ms": 99}},
            "[student]: a window must be 5 time constants of the membrane long, for the network "
            "to forget that it began at rest, but data.window_ms = 99 < "
            "5 x (tau_mem_ms + tau_syn_ms) = 100; use",
        ),
        (
            {"student": {"tau_mem_ms": 201}},
            "= 1000 < 5 x (tau_mem_ms + tau_syn_ms) = 1005; use a longer window",
        ),
        (
            {"search": {"space": {"student.tau_mem_ms": {"low": 5, "high": 300}}}},
            "[search.space.student.tau_mem_ms]: a window must be 5 time constants",
        ),
        (
            {"search": {"space": {"student.tau_mem_ms": {"choices": [5, 300]}}}},
            "[search.space.student.tau_mem_ms]: a window must be 5 time constants",
        ),
        (
            {"ablation": {"arms": {"slow": {"student.dale": False, "student.tau_mem_ms": 300}}}},
            "[ablation.arms.slow]: a window must be 5 time constants of the membrane long",
        ),
        (
            {"student": {"num_neurons": 20, "excitatory_fraction": 0.99}},
            "[student]: at least one neuron of each sign must hold, but excitatory_fraction = 0.99 "
            "of 20 neurons gives 20 excitatory ones; use more neurons",
        ),
        (
            {"search": {"space": {"student.excitatory_fraction": {"low": 0.001, "high": 0.8}}}},
            "[search.space.student.excitatory_fraction]: at least one neuron of each sign",
        ),
        (
            {"ablation": {"arms": {"pair": {"student.num_neurons": 2}}}},
            "[ablation.arms.pair]: at least one neuron of each sign must hold",
        ),
        ({"search": {"space": {"student.steps": {"low": 2, "high": 1}}}}, "low < high must hold"),
        ({"seeds": {"select": [1], "report": [1]}}, "must all differ"),
        ({"teacher": {"horizons_ms": [2000.0]}}, "must fit a window"),
        ({"student": {"num_neurons": 8}}, "num_neurons >= teacher.latent_dim"),
        ({"search": {"space": {"student.num": {"low": 1, "high": 2}}}}, "unknown key"),
        ({"require": {"rate_hz": [100.0, 200.0]}}, "no rate meets a band from 100 Hz"),
        ({"student": {"rate_band_hz": [150.0, 200.0]}}, "no rate meets a band from 150 Hz"),
        ({"search": {"objectives": ["num_neurons"]}}, "hold 'cca_heldout'"),
        ({"search": {"objectives": ["cca_heldout", "speed"]}}, "'rate_error'"),
        (
            {"search": {"sampler": "cmaes", "objectives": ["cca_heldout", "num_neurons"]}},
            "follows one objective",
        ),
        (
            {
                "search": {
                    "sampler": "cmaes",
                    "space": {CHOICE: {"choices": ["atan", "fast_sigmoid"]}},
                }
            },
            "choices",
        ),
        ({"search": {"space": {CHOICE: {"choices": ["atan", "atan"]}}}}, "choices must differ"),
        ({"search": {"sampler": "random", "warm_start": "x"}}, "random draws learn from no trial"),
        ({"search": {"space": slope_when({"student.dalle": True})}}, "unknown key"),
        ({"search": {"space": slope_when({"student.dale": False})}}, "must be able to be False"),
        (
            {
                "search": {
                    "space": {CHOICE: {"choices": ["atan", "fast_sigmoid"]}}
                    | slope_when({CHOICE: "x"})
                }
            },
            "'atan'",
        ),
        ({"search": {"space": CIRCLE}}, "must not go round in a circle"),
        (
            {"student": {"ei_balance": 1.0, "input_signs": "excitatory", "connection_prob": 0}},
            "[student]: ei_balance = 1 of currents must be held by excitatory and inhibitory ones, "
            "but no synapse is inhibitory (recurrence = 'trained', connection_prob = 0,",
        ),
        (
            {"student": {"ei_balance": 1.0, "ei_of": "weights", "recurrence": "none"}},
            "ei_balance = 1 of recurrent weights must be held by excitatory and inhibitory ones, "
            "but there is no synapse",
        ),
        (
            {
                "student": {"input_signs": "excitatory", "initial_inhibitory_gain": 0},
                "search": {"space": {"student.ei_balance": {"low": 0.5, "high": 2}}},
            },
            "[search.space.student.ei_balance]: ei_balance = 0.5 of currents must be held by",
        ),
        (
            {"ablation": {"arms": {"weak": {"student.inhibitory_gain": 0.1}}}},
            "[ablation.arms.weak]: 'student.inhibitory_gain' is now called "
            "'student.initial_inhibitory_gain'; write that.",
        ),
        (
            {"student": {"balanced": True, "initially_balanced": True}},
            "'balanced' is now called 'initially_balanced', but both are given; leave one out.",
        ),
        ({"require": {"ei_balance": [1.1, 0.9]}}, "ei_balance: low < high must hold, but got"),
        ({"student": {"input_signs": "both"}}, "[student.input_signs]"),
        (
            {"data": {"sessions": ["a.nwb"], "window_ms": "400"}},
            "[data.window_ms]: it must be a number, but is '400'.",
        ),
        ({"data": {"sessions": ["a.nwb"], "areas": [" "]}}, "[data.areas.0]"),
        ({"data": {"sessions": "a.nwb"}}, "it must be a list, such as [1, 2], but is 'a.nwb'"),
        ({"search": {"trials": True}}, "[search.trials]: it must be a number, but is True."),
        ({"seeds": {"select": [True]}}, "[seeds.select]: it must be a number"),
        ({"student": {"dale": "no"}}, "[student.dale]: it must be true or false, but is 'no'."),
        (
            {"teacher": {"latent_dim": "autoo"}},
            "[teacher.latent_dim]: it must be a whole number or 'auto', but is 'autoo'.",
        ),
        (
            {"teacher": {"latent_dim": 0}},
            "s.toml [teacher.latent_dim]: Input should be greater than or equal to 1 (found 0)",
        ),
        (
            {"search": {"space": {"student.rate_weight": {"low": False, "high": 1}}}},
            "[search.space.student.rate_weight.low]: it must be a number, but is False.",
        ),
        (
            {"search": {"space": {"student.rate_weight": {"low": 1, "high": 2, "log": "yes"}}}},
            "[search.space.student.rate_weight.log]: it must be true or false, but is 'yes'.",
        ),
        (
            {"search": {"space": {"student.rate_weight": {"choices": [True, 1]}}}},
            "'student.rate_weight' must be a number, but is True.",
        ),
        (
            {"search": {"space": {"student.dale": {"low": 0, "high": 1}}}},
            "'student.dale' must be true or false, but is 0.0.",
        ),
        (
            {"search": {"space": {"student.rate_weight": {"choices": [[1], 2]}}}},
            "it must be true or false, a whole number, a number or text in quotes, but is [1].",
        ),
        (
            {"ablation": {"arms": {"a": {"student": {"dale": False}}}}},
            'write a = { "student.dale" = false }',
        ),
        ({"ablation": {"arms": {"a/b": {"student.dale": False}}}}, "it names files, but got 'a/b'"),
        ({"ablation": {"arms": {"a" * 300: {"student.dale": False}}}}, "up to 60 letters"),
    ],
)
def test_a_wrong_study_is_told_in_one_line(table, said):
    with pytest.raises(StudyError) as caught:
        parse_study({**LEAST, **table}, "s.toml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_window_of_just_the_membranes_memory_is_taken_and_no_membrane_needs_none():
    at_once = {"sessions": ["a.nwb"], "window_ms": 100}
    assert parse_study({**LEAST, "data": at_once}).student.tau_mem_ms == 20
    gru = {"neuron": "gru", "tau_mem_ms": 300}
    assert parse_study({**LEAST, "student": gru}).student.tau_mem_ms == 300
    arms = {"spiking": {"student.neuron": "lif"}}
    with pytest.raises(StudyError, match=r"arms\.spiking\]: a window must be 5 time constants"):
        parse_study({**LEAST, "student": gru, "ablation": {"arms": arms}})


def test_tables_with_the_earlier_names_of_settings_are_read():
    earlier = parse_study({**LEAST, "student": {"inhibitory_gain": 0.5, "balanced": False}}).student
    assert (earlier.initial_inhibitory_gain, earlier.initially_balanced) == (0.5, False)


def test_a_balance_can_be_searched_required_and_lifted():
    spec = parse_study(
        {
            **LEAST,
            "student": {"ei_balance": 1.0},
            "require": {"ei_balance": [0.9, 1.1]},
            "search": {
                "space": {"student.ei_balance": {"low": 0.25, "high": 4.0, "log": True}},
                "objectives": ["cca_heldout", "ei_error"],
            },
            "ablation": {"baselines": ["no-ei-balance", "feed-forward", "echo-state"]},
        }
    )
    assert parse_study(dump_study(spec)) == spec


def test_a_number_of_thousands_of_digits_is_no_fault_of_ours(tmp_path):
    (tmp_path / "s.toml").write_text("name = 'x'\nx = " + "9" * 5000)
    with pytest.raises(StudyError, match="must hold no such number"):
        load_study(tmp_path / "s.toml")


def test_a_missing_study_file_is_named(tmp_path):
    with pytest.raises(StudyError, match="a study file must be there"):
        load_study(tmp_path / "none.toml")


def test_a_study_with_every_table_survives_being_written_and_read():
    space = {CHOICE: {"choices": ["atan", "fast_sigmoid"]}} | slope_when({CHOICE: "atan"})
    search = {"space": space, "pack": 4, "confirm": 3, "stop": {"audit": 2}, "warm_start": "x"}
    spec = parse_study({**LEAST, "search": search})
    assert parse_study(dump_study(spec)) == spec
    assert spec.search.stop is not None
    assert parse_study(LEAST).search.stop is None
