"""Every argument of a measure is named where its docstring says what it is."""

import importlib
import inspect
import pkgutil
import re

import pytest

from rheobase import measures


def sections(docstring):
    """Return the body of each numpydoc section by its title."""
    parts = re.split(r"^([A-Z][a-z]+)\n-+$", inspect.cleandoc(docstring), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def named(section):
    """Return the names that a section describes, of lines such as ``x, y``."""
    lines = [line for line in section.splitlines() if line and not line.startswith(" ")]
    return {name.strip() for line in lines for name in line.split(",")}


def public_callables():
    """Give every public function, class and method of the room, by its address."""
    for module in pkgutil.iter_modules(measures.__path__, "rheobase.measures."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if name.startswith("_") or getattr(value, "__module__", "") != module.name:
                continue
            if inspect.isfunction(value) or inspect.isclass(value):
                yield f"{module.name}.{name}", value
            if inspect.isclass(value):
                for method, function in vars(value).items():
                    if not method.startswith("_") and inspect.isfunction(function):
                        yield f"{module.name}.{name}.{method}", function


def arguments(value):
    return [name for name in inspect.signature(value).parameters if name not in ("self", "cls")]


FOUND = dict(public_callables())


def test_the_room_is_walked_whole():
    assert "rheobase.measures.cca.heldout_cca" in FOUND
    assert "rheobase.measures.moments.Parts.pooled" in FOUND
    assert len(FOUND) > 40


@pytest.mark.parametrize("address", FOUND)
def test_a_docstring_names_every_argument(address):
    value = FOUND[address]
    described = sections(value.__doc__)
    # A record's arguments are its attributes.
    titles = ("Parameters", "Attributes") if inspect.isclass(value) else ("Parameters",)
    names = {name for title in titles for name in named(described.get(title, ""))}
    assert set(arguments(value)) <= names


@pytest.mark.parametrize("address", FOUND)
def test_a_docstring_says_what_is_returned(address):
    value = FOUND[address]
    if inspect.isclass(value) or inspect.signature(value).return_annotation in (None, "None"):
        return
    assert "Returns" in sections(value.__doc__)
