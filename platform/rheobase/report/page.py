"""What self-contained pages share: their templates, and figures inside the text."""

from __future__ import annotations

from collections.abc import Mapping

import jinja2
from markupsafe import Markup

from rheobase.report.tables import number


def template(name: str) -> jinja2.Template:
    """Return a page's template, which escapes what it is given and refuses what it is not."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rheobase", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template(name)


def inline(drawn: Mapping[str, str | None]) -> dict[str, Markup | None]:
    """Return figures as parts of one page.

    Each SVG names its parts from 1: two on a page need their own names.
    """
    return {
        name: None if svg is None else Markup(svg.replace('id="', f'id="{name}-')
            .replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-"))
        for name, svg in drawn.items()
    }  # fmt: skip
