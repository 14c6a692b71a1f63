"""The name of what students are to carry, known without a heavy library."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

SERIES = "series:"
NAMED = re.compile(SERIES + r"[A-Za-z][A-Za-z0-9_-]{0,39}")


def _known(target: str) -> str:
    if target in ("latents", "future") or NAMED.fullmatch(target):
        return target
    raise ValueError(
        "what is carried must be 'latents', 'future' or 'series:' and the name of a time series."
    )


Target = Annotated[str, AfterValidator(_known)]
"""The teacher's latents, what it foretells of them, or a time series of the recording by name."""
