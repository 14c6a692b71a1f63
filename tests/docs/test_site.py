"""Pages that list something list all of it."""

import inspect
import re

import rheobase as rb
from rheobase.cli.extras import MissingPackage
from rheobase.core import errors


def test_every_class_of_error_is_on_the_page(root):
    page = (root / "docs" / "errors.md").read_text()
    classes = [
        name
        for name, found in vars(errors).items()
        if inspect.isclass(found) and issubclass(found, errors.RheobaseError)
    ]
    for name in [*classes, MissingPackage.__name__]:
        assert f"`{name}`" in page or f"`rb.{name}`" in page, name


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
