"""Puts every decision into the site's menu."""

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Add a section that lists docs/decisions, each by its title."""
    pages = sorted((Path(config["docs_dir"]) / "docs" / "decisions").glob("*.md"))
    titles = {page.name: page.read_text().splitlines()[0].removeprefix("# ") for page in pages}
    section = [{title: f"docs/decisions/{name}"} for name, title in titles.items()]
    config["nav"].append({"Decisions": section})
    return config
