"""Pages that list something list all of it."""

import re

import rheobase as rb
from rheobase.cli.faults import FAULT, WRONG_INPUT


def test_every_error_and_every_exit_code_is_on_the_page(root):
    text = "".join(one.read_text() for one in (root / "platform" / "rheobase").rglob("*.py"))
    bases = dict(re.findall(r"^class (\w+)\((\w+)\):", text, re.M))
    errors = {name for name, base in bases.items() if "RheobaseError" in (base, bases.get(base))}
    errors |= set(re.findall(r"say_error\(\s*f\"(\w+Error): ", text))
    codes = {str(code) for code in (0, WRONG_INPUT, FAULT)}
    for told in re.findall(r"(?:Exit|sys\.exit)\((.*)\)", text):
        codes |= set(re.findall(r"\b\d+\b", told))
    assert {"StudyError", "TrialFailed", "TrainingFailed", "PathError"} <= errors
    page = (root / "docs" / "errors.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.M)) == errors | codes


def test_every_public_name_is_on_the_page_of_the_api(root):
    listed = set(
        re.findall(r"^::: rheobase\..*\.(\w+)$", (root / "docs" / "api.md").read_text(), re.M)
    )
    assert set(rb.__all__) - {"measures"} <= listed


def test_every_pinned_package_has_a_licence(root):
    page = (root / "docs" / "licences.md").read_text()
    listed = dict(re.findall(r"^\| ([A-Za-z0-9_.-]+) \| (.+) \|$", page, re.M))
    lock = (root / "requirements.lock").read_text()
    pins = re.findall(r"^([A-Za-z0-9_.-]+)==", lock, re.M)
    assert set(pins) == listed.keys() - {"package"}
    assert "not stated" not in listed.values()


def test_every_page_is_reached_from_the_sites_menu(root):
    menu = (root / "website" / "mkdocs.yml").read_text()
    for page in (root / "docs").glob("*.md"):
        assert f"docs/{page.name}" in menu, page.name
