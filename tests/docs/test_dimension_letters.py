"""One table of dimension letters, in the glossary; every file's legend speaks by it."""

import re

import pytest

LEGEND = re.compile(r"^# Shape legend: (.*?)(?=\n(?!#)|\n# [A-Z][a-z])", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def letters(root):
    rows = re.findall(r"^\| `(\w)` \| (.+?) \|$", (root / "docs/glossary.md").read_text(), re.M)
    return {letter: [noun.strip() for noun in nouns.split(",")] for letter, nouns in rows}


def entries(text):
    """Return (letter, what it counts) for each entry of a file's legend."""
    found = LEGEND.search(text)
    if not found:
        return []
    legend = found.group(1).replace("\n# ", " ").split(";")[0]
    return [tuple(one.split(" ", 1)) for one in re.split(r", (?=\w )|\.$", legend) if one]


def test_every_legend_uses_the_letters_of_the_table(letters, root):
    seen = set()
    for path in sorted((root / "platform").rglob("*.py")):
        for letter, counts in entries(path.read_text()):
            seen.add(letter)
            words = counts.rstrip(".").split(",")[0]
            assert letter in letters, (path.name, letter, counts)
            assert any(re.search(rf"\b{noun}\b", words) for noun in letters[letter]), (
                f"{path.name}: {letter} counts {letters[letter]}, but here '{words}'"
            )
    assert seen == letters.keys()


def test_a_letter_has_one_row_and_a_noun_one_letter(letters):
    nouns = [noun for of_letter in letters.values() for noun in of_letter]
    assert len(letters) > 10
    assert {noun for noun in nouns if nouns.count(noun) > 1} <= {"bins"}
