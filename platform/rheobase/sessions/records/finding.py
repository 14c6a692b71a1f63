"""What a check of a recording reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """Something wrong with a recording: how often, and where first.

    Fatal: no number from such a recording can be trusted. Warning: it can, once explained.
    """

    check: str
    severity: Literal["fatal", "warning"]
    count: int
    detail: str
