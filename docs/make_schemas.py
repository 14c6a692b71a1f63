"""Write docs/schemas/ from the models that read the study file and that commands print."""

from __future__ import annotations

import json
from pathlib import Path

from rheobase.cli.schemas import NAMES, schema_of


def pages() -> dict[str, str]:
    """Return the text of each schema by its file's name."""
    return {f"{name}.json": json.dumps(schema_of(name), indent=1) + "\n" for name in NAMES}


if __name__ == "__main__":
    folder = Path(__file__).with_name("schemas")
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)
