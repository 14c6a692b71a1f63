"""Every table of `benchmarks/` says of which commit it is, and what has changed since."""

import importlib.util
import shutil

import pytest

from rheobase.core.digest import code_digest


@pytest.fixture(scope="module")
def remake(root):
    spec = importlib.util.spec_from_file_location("remake", root / "benchmarks" / "remake.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_table_says_its_commit_and_which_code_has_changed_since(remake):
    """After a change of code `make bench-told` writes it."""
    for name, record in remake.records().items():
        page = remake.HERE / remake.tables()[name]["page"]
        assert remake.body_of(page.read_text(), name).endswith(remake.told(record)), (
            f"{page.name}, {name}: run make bench-told"
        )


def test_every_table_has_a_place_and_a_program(remake, root):
    for name, table in remake.tables().items():
        text = (remake.HERE / table["page"]).read_text()
        assert remake.replaced(text, name, remake.body_of(text, name)) == text
        program = next(word for word in table["command"].split() if word.endswith(".py"))
        assert (root / program).is_file()
        for room in table["rooms"]:
            assert code_digest(room)


def test_a_changed_line_of_a_measured_room_is_told(remake, root, tmp_path):
    package = tmp_path / "rheobase"
    for room in ("core", "measures"):
        shutil.copytree(root / "platform" / "rheobase" / room, package / room)
    record = {
        "name": "t",
        "commit": "abc",
        "date": "2026-01-01",
        "host": "two cores",
        "versions": {"numpy": "2"},
        "rooms": {room: code_digest(room, package=package) for room in ("core", "measures")},
    }
    assert remake.told(record, package) == (
        "*Commit abc, 2026-01-01; two cores; numpy 2; `make bench-table TABLE=t`.*"
    )
    with (package / "measures" / "cca.py").open("a") as file:
        file.write("\n")
    assert "**Code has changed since** in `measures`." in remake.told(record, package)
    shutil.rmtree(package / "core")
    assert "in `core` and `measures`." in remake.told(record, package)


def test_a_table_is_put_in_the_place_of_another_and_nothing_else_changes(remake):
    page = "# T\n<!-- made: a -->\nold\n<!-- /made -->\nrest <!-- made: b -->\nb\n<!-- /made -->\n"
    changed = remake.replaced(page, "a", "new")
    assert changed == page.replace("old", "new")
    assert remake.body_of(changed, "b") == "b"
    with pytest.raises(SystemExit, match="must hold <!-- made: c -->"):
        remake.replaced(page, "c", "new")
