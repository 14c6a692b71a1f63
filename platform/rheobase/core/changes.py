"""How two nested tables differ, for messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys that differ, each with its old and new value.

    Examples
    --------
    >>> changes({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}, "d": 4})
    ['a.b 1 -> 3', 'd (absent) -> 4']
    """
    left, right, absent = _flat(old), _flat(new), "(absent)"
    return [
        f"{key} {left.get(key, absent)} -> {right.get(key, absent)}"
        for key in sorted(left.keys() | right.keys())
        if left.get(key, absent) != right.get(key, absent)
    ]


def _flat(table: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        inner = value if isinstance(value, Mapping) else None
        flat |= _flat(inner, f"{path}{key}.") if inner else {f"{path}{key}": value}
    return flat
