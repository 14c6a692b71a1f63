"""The name of what students are to carry, known without a heavy library."""

from __future__ import annotations

from typing import Literal

Target = Literal["latents", "future"]
"""The teacher's latents, or what it foretells of them."""
