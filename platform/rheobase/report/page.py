"""What self-contained pages share: their templates, and figures inside the text."""

from __future__ import annotations

import re
from collections.abc import Mapping

import jinja2
from markupsafe import Markup, escape

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


def inline(
    drawn: Mapping[str, str | None], titles: Mapping[str, str] | None = None
) -> dict[str, Markup | None]:
    """Return figures as parts of one page; each is an image with a title to who cannot see it.

    Each SVG names its parts from 1: two on a page need their own names.
    """
    found: dict[str, Markup | None] = {}
    for name, svg in drawn.items():
        if svg is None:
            found[name] = None
            continue
        for before, after in (('id="', f'id="{name}-'), ('href="#', f'href="#{name}-'),
                              ("url(#", f"url(#{name}-")):  # fmt: skip
            svg = svg.replace(before, after)
        title = (titles or {}).get(name)
        told = f'role="img" aria-label="{escape(title)}" ' if title else ""
        found[name] = Markup(svg.replace("<svg ", f"<svg {told}", 1))
    return found


def with_names(svg: str, mark: str, names: Mapping[str, str]) -> str:
    """Return an SVG in which every part that is marked by an id bears its name as a title."""

    def group(found: re.Match[str]) -> str:
        key = found[1]
        title = f"<title>{escape(names[key])}</title>" if key in names else ""
        return f'<g class="named" data-trial="{key}">{title}'

    return re.sub(rf'<g id="{mark}([^"]+)">', group, svg)
