"""Whether values of a study file are of the kind that their settings ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel

NUMBERS = frozenset({int, float})
UNION_TAGS = ("bool", "int", "float", "str", "constrained-", "literal[", "tuple[", "function-")
"""How pydantic's places of errors name the members of a union."""


def misfit(value: Any, annotation: Any, *, is_entry: bool = False) -> str | None:
    """Return what a setting asks for in place of a value; None where it fits, as far as kinds go.

    Pydantic takes ``true`` for 1, ``"400"`` for 400 and ``"no"`` for false: slips, all of them.

    Examples
    --------
    >>> misfit(True, float), misfit("no", bool), misfit(3, float)
    ('a number', 'true or false', None)
    """
    if isinstance(value, list | tuple):
        return next(
            (told for one in value if (told := misfit(one, annotation, is_entry=True))), None
        )
    if _is_list(annotation) and not is_entry:  # whose own sentence shows the right form
        return None
    kinds = _leaves(annotation)
    if isinstance(value, bool):
        return "a number" if kinds & NUMBERS and bool not in kinds else None
    if isinstance(value, str):
        if bool in kinds and not kinds & {str, Literal}:
            return "true or false"
        return "a number" if kinds & NUMBERS and not kinds & {str, Literal} else None
    if isinstance(value, int | float) and bool in kinds and not kinds & NUMBERS:
        return "true or false"
    return None


def misfits(table: Mapping[str, Any], model: type[BaseModel], where: str = "") -> list[str]:
    """Return a sentence for each value of a table that is of another kind than its setting."""
    problems = []
    for name, field in model.model_fields.items():
        if name not in table:
            continue
        value, path = table[name], f"{where}.{name}".strip(".")
        inner = [one for one in _leaves(field.annotation) if _is_model(one)]
        if name == "space" and isinstance(value, Mapping):
            for axis, one in value.items():
                if isinstance(one, Mapping):
                    kind = next(
                        m for m in inner if ("choices" in m.model_fields) == ("choices" in one)
                    )
                    problems += misfits(one, kind, f"{path}.{axis}")
        elif inner and isinstance(value, Mapping):
            problems += misfits(value, inner[0], path)
        elif not isinstance(value, Mapping) and (told := misfit(value, field.annotation)):
            problems.append(f"[{path}]: it must be {told}, but is {value!r}.")
    return problems


def without_union(location: Sequence[Any]) -> tuple[Any, ...]:
    """Return the place of an error without the member of a union that pydantic tried there."""
    for at, part in enumerate(location):
        if at and isinstance(part, str) and part.startswith(UNION_TAGS) and _is_tag(part):
            return tuple(location[:at])
    return tuple(location)


def _is_tag(part: str) -> bool:
    return part in UNION_TAGS or part.startswith(UNION_TAGS[4:])


def _is_list(annotation: Any) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    return origin in (tuple, list) or (
        origin not in (dict, Mapping, Literal) and any(map(_is_list, arguments))
    )


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _leaves(annotation: Any) -> frozenset[Any]:
    """Return the kinds that a type is made of; of a table, those of its values."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _leaves(arguments[0])
    if origin is Literal:
        return frozenset({Literal})
    if origin in (dict, Mapping):
        return _leaves(arguments[1])
    if not arguments:
        return frozenset({annotation})
    return frozenset().union(*(_leaves(one) for one in arguments if one is not Ellipsis))
