"""The name of what students are to carry, known without a heavy library."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from rheobase.sessions.records.series_names import NAME

SERIES = "series:"


def _known(target: str) -> str:
    if target in ("latents", "future") or re.fullmatch(SERIES + NAME, target):
        return target
    raise ValueError(
        "what is carried must be 'latents', 'future' or 'series:' and the name of a time series."
    )


Target = Annotated[str, AfterValidator(_known)]
"""The teacher's latents, what it foretells of them, or a time series of the recording by name."""
