"""Write docs/study-file.md from the models that read the study file."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from pathlib import Path

from pydantic import BaseModel

from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.sessions.readers.path_settings import PathSettings
from rheobase.shards.settings import DataSettings, SplitSettings
from rheobase.student.settings import StudentSettings
from rheobase.study.file.ablation_settings import AblationSettings
from rheobase.study.file.search_settings import Choice, Range, SearchSettings, StopSettings
from rheobase.study.file.spec import (
    Require,
    ResourceSettings,
    SeedSettings,
    StudySpec,
)
from rheobase.teacher.settings import TeacherSettings

TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("top level", StudySpec),
    ("[data]", DataSettings),
    ("data.split", SplitSettings),
    ("[data.events]", EventSettings),
    ("[data.paths]", PathSettings),
    ("[teacher]", TeacherSettings),
    ("[student]", StudentSettings),
    ("[search]", SearchSettings),
    ("[search.stop]", StopSettings),
    ("an entry of [search.space], numeric", Range),
    ("an entry of [search.space], categorical", Choice),
    ("[ablation]", AblationSettings),
    ("[require]", Require),
    ("[seeds]", SeedSettings),
    ("[resources]", ResourceSettings),
)


def described(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstring below each field."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and is_text and isinstance(field.target, ast.Name):
            found[field.target.id] = inspect.cleandoc(str(after.value.value)).replace("\n", " ")
    return found


def page() -> str:
    """Return the page."""
    lines = [
        "# The study file",
        "",
        "TOML. Unknown keys are refused with the nearest name. Made by "
        "`python docs/make_study_file.py`; do not edit.",
        "",
        "An editor that knows JSON schemas helps to write it: `rheobase schema study > "
        "study.schema.json`, and `#:schema ./study.schema.json` as the file's first line (VS Code "
        "with Even Better TOML, or taplo). The schema is in [docs/schemas](schemas/study.json), "
        "beside those of what commands print.",
    ]
    for title, model in TABLES:
        about = inspect.cleandoc(model.__doc__ or "").splitlines()[0]
        lines += ["", f"## {title}", about, "", "| key | default | meaning |", "|---|---|---|"]
        texts = described(model)
        for name, field in model.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel) and model is StudySpec:
                continue
            default = "required" if field.is_required() else f"`{field.default!r}`"
            if isinstance(field.default, BaseModel):
                default = "its own defaults"
            lines.append(f"| `{name}` | {default} | {texts.get(name, '')} |".replace("\n", " "))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
    Path(__file__).with_name("study-file.md").write_text(page())
