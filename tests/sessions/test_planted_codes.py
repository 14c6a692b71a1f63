import numpy as np
import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.load import load_session, outline_session
from rheobase.sessions.planted.address import parse_planted
from rheobase.sessions.planted.code import CODES, PlantedCode, state_loadings
from rheobase.sessions.planted.simulate import NAMES, simulate
from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.readers.nwb import read_nwb

STATE = NAMES.index("state")


@pytest.fixture(scope="module")
def active():
    return np.random.default_rng(0).standard_normal((8, 300))


def loadings(active, kind, **settings):
    return state_loadings(PlantedCode(kind=kind, **settings), active, np.random.default_rng(1))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Return a function that simulates four clean minutes of 60 units with a code."""
    folder = tmp_path_factory.mktemp("codes")

    def simulated(kind):
        path = folder / f"{kind}.nwb"
        if not path.exists():
            simulate(path, 2, 4.0, 60, 0.0, PlantedCode(kind=kind))
        return path

    return simulated


@pytest.mark.parametrize("kind", CODES)
def test_the_slow_state_and_the_active_code_stay(active, kind):
    first, second = loadings(active, kind)
    np.testing.assert_array_equal(first, active)
    np.testing.assert_array_equal(second[STATE], active[STATE])


def test_a_rotation_keeps_lengths_and_turns_three_planes_by_its_angle(active):
    for angle in (0.0, 30.0, 90.0, 180.0):
        first, second = loadings(active, "rotated", angle=angle)[:, :STATE]
        turn = second @ np.linalg.pinv(first)
        np.testing.assert_allclose(turn @ turn.T, np.eye(7), atol=1e-10)
        # Of seven dimensions one stays, six turn: the trace of a rotation says by how much.
        assert np.trace(turn) == pytest.approx(1 + 6 * np.cos(np.deg2rad(angle)))


def test_flipped_changes_every_sign_and_gain_every_length_but_no_direction(active):
    first, second = loadings(active, "flipped")[:, :STATE]
    np.testing.assert_array_equal(second, -first)
    first, second = loadings(active, "gain")[:, :STATE]
    factor = second / first
    np.testing.assert_allclose(factor, np.broadcast_to(factor[0], factor.shape))
    assert (factor > 0).all()
    assert np.log(factor[0]).std() == pytest.approx(0.7, rel=0.15)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_remapped_draws_so_many_units_anew_at_the_same_length(active, share):
    first, second = loadings(active, "remapped", share=share)[:, :STATE]
    assert (first != second).any(axis=0).mean() == share
    np.testing.assert_allclose(np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=0))


def test_every_code_has_the_latents_and_the_frames_of_the_others(planted):
    same, about = read_nwb(planted("same")), set()
    for kind in CODES:
        session = load_session(str(planted(kind)))
        np.testing.assert_array_equal(session.presentations.image, same.presentations.image)
        np.testing.assert_array_equal(session.presentations.start_s, same.presentations.start_s)
        one, other = (
            np.load(planted(name).with_suffix(".latents.npz"))["latents"] for name in (kind, "same")
        )
        np.testing.assert_array_equal(one, other)
        assert check_session(session) == []
        about.add(session.true_latents.about)
    assert len(about) == len(CODES)


def across(path, names=NAMES[:4]):
    """Correlation of latents read from the passive block by weights fitted in the active one."""
    session = read_nwb(path)
    beside = np.load(path.with_suffix(".latents.npz"))
    edges = np.append(beside["time_s"], beside["time_s"][-1] + 0.01)
    box = np.ones(8) / 8
    counts = np.array([np.histogram(session.spikes_of(unit), edges)[0] for unit in range(60)])
    x = np.stack([np.convolve(one, box, "same") for one in counts], axis=1)
    y = beside["latents"][:, [NAMES.index(name) for name in names]].astype(float)
    active = beside["time_s"] < 125
    x = x - np.where(active[:, None], x[active].mean(0), x[~active].mean(0))
    weights = np.linalg.lstsq(x[active], y[active], rcond=None)[0]
    read = x[~active] @ weights
    return np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(read.T, y[~active].T, strict=True)])


def test_a_readout_of_one_state_holds_in_the_other_only_where_the_code_does(planted):
    found = {kind: across(planted(kind)) for kind in CODES}
    assert found["same"] > 0.6
    assert found["flipped"] < -0.6
    assert abs(found["rotated"]) < 0.45
    assert found["flipped"] < found["remapped"] < found["same"] - 0.05


def test_no_linear_map_holds_a_nonlinear_code_as_it_holds_a_linear_one(planted):
    for name in ("image_1", "rotation_1", "drift"):
        linear, products = (across(planted(kind), [name]) for kind in ("same", "nonlinear"))
        assert products < linear - 0.1


def test_the_truth_beside_a_file_says_how_log_rates_depend_on_the_latents(planted):
    beside = np.load(planted("flipped").with_suffix(".latents.npz"))
    first, second = beside["loadings"]
    np.testing.assert_allclose(first[:STATE], -second[:STATE])
    # Of standardised, nearly uncorrelated latents, a log rate has about the gain's deviation.
    assert np.linalg.norm(first, axis=0).mean() == pytest.approx(0.7, rel=0.15)
    assert "loadings" not in np.load(planted("nonlinear").with_suffix(".latents.npz"))


def test_an_address_names_its_code_and_the_session_bears_it():
    address = "synthetic:planted?minutes=0.5&units=5&code=rotated&angle=30"
    assert parse_planted(address)["angle"] == 30
    assert outline_session(address).silent.session_id == "planted-s0-m0.5-u5-g1-rotated30"
    assert load_session(address).session_id == "planted-s0-m0.5-u5-g1-rotated30"
    plain = load_session("synthetic:planted?minutes=0.5&units=5&code=same")
    assert plain.session_id == "planted-s0-m0.5-u5-g1"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("code=roteted", "Did you mean 'rotated'"),
        ("code=rotated&angle=200", "from 0 to 180"),
        ("code=remapped&share=nan", "share must be a number"),
        ("code=flipped&angle=30", "code=rotated"),
        ("share=0.2", "code=remapped"),
    ],
)
def test_a_code_that_cannot_be_is_named(query, named):
    with pytest.raises(SessionError, match=named):
        parse_planted(f"synthetic:planted?{query}")
