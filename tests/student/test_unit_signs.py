import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.student.settings import StudentSettings
from rheobase.student.unit_signs import input_signs, signs_of_column

BY_UNIT = StudentSettings(input_signs="by_unit")


def test_words_of_cell_types_are_understood_however_they_are_written():
    words = ["RS", " fs", "Excitatory", "INH", "fast-spiking", "regular_spiking", "", "noise"]
    assert signs_of_column(np.array(words), 0.4).tolist() == [1, -1, 1, -1, -1, 1, 0, 0]


def test_the_duration_of_a_waveform_divides_units_and_its_absence_says_nothing():
    durations = np.array([0.2, 0.399, 0.4, 0.8, np.nan])
    assert signs_of_column(durations, 0.4).tolist() == [-1, -1, 1, 1, 0]
    assert signs_of_column(np.array([1, -1]), 0.0).tolist() == [1, -1]


def test_units_of_which_nothing_is_known_are_drawn_by_seed_at_the_given_share():
    told = np.array(["E"] * 10 + ["I"] * 10 + [""] * 50)
    settings = BY_UNIT.model_copy(update={"input_sign_column": "kind"})
    each = [input_signs(settings, seed, {"kind": told}, 70, "s") for seed in (0, 1, 0)]
    for signs in each:
        assert signs[:10].tolist() == [1] * 10
        assert signs[10:20].tolist() == [-1] * 10
        assert (signs[20:] == 1).sum() == 40
    np.testing.assert_array_equal(each[0], each[2])
    assert (each[0] != each[1]).any()


def test_without_a_column_all_are_drawn_only_where_that_is_asked_for():
    drawn = input_signs(BY_UNIT.model_copy(update={"input_sign_column": ""}), 0, {}, 10, "s")
    assert (drawn == 1).sum() == 8
    with pytest.raises(DataError, match=r"s: input_signs = 'by_unit' needs the column 'waveform_d"):
        input_signs(BY_UNIT, 0, {"waveform_durations": np.ones(10)}, 10, "s")
    with pytest.raises(DataError, match="Did you mean 'waveform_durations'"):
        input_signs(BY_UNIT, 0, {"waveform_durations": np.ones(10)}, 10, "s")


def test_a_column_that_says_nothing_of_any_unit_is_refused():
    wrong = {"waveform_duration": np.array(["good", "mua"])}
    with pytest.raises(DataError, match=r"must say excitatory or inhibitory.*'good', 'mua'"):
        input_signs(BY_UNIT, 0, wrong, 2, "s")
