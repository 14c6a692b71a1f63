"""The command that prints what a file or a command's JSON may hold, as a JSON schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import typer
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from rheobase.cli.terminal import print_json

Name = Literal["study", "ranking", "plan", "validate", "compare", "effects", "methods", "forecast"]
NAMES: tuple[Name, ...] = get_args(Name)


def schema_of(name: Name) -> dict[str, Any]:
    """Return the JSON schema of a study file, or of what a command prints with ``--json``."""
    from rheobase.report.methods import Methods
    from rheobase.sessions.quality.profile import Profile
    from rheobase.study.file.spec import StudySpec
    from rheobase.study.forecast.record import Forecast
    from rheobase.study.planning.plan import Plan
    from rheobase.study.ranking.effect_table import Effects
    from rheobase.study.ranking.ranking import Ranking
    from rheobase.study.ranking.statistics import Comparison

    forms: dict[Name, tuple[Any, str]] = {
        "study": (StudySpec, "A study file"),
        "ranking": (Ranking, "What rheobase rank --json prints"),
        "plan": (Plan, "What rheobase plan --json prints"),
        "validate": (Profile | list[Profile], "What rheobase validate --json prints"),
        "compare": (Comparison, "What rheobase compare RUN ARM --json prints"),
        "effects": (Effects, "What rheobase compare RUN --json prints"),
        "methods": (Methods, "What rheobase methods --json prints"),
        "forecast": (Forecast, "What rheobase forecast --json prints"),
    }
    form, title = forms[name]
    mode: JsonSchemaMode = "validation" if name == "study" else "serialization"
    found = TypeAdapter(form).json_schema(mode=mode)
    return {"$schema": GenerateJsonSchema.schema_dialect, **found, "title": title}


def schema(name: Annotated[Name, typer.Argument(help="Which.")]) -> None:
    """Print the JSON schema of a study file, or of what a command prints.

    Example: rheobase schema study > study.schema.json
    """
    print_json(schema_of(name))
