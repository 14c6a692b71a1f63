"""Which of the images that were shown are others than the ones before them."""

# Shape legend: P presentations.

from __future__ import annotations

import numpy as np

from rheobase.sessions.records.session import Bools, Ints, Strings


def image_changes(image: Strings, omitted: Bools, block: Ints) -> Bools:
    """Tell where a shown image (P,) differs from the one shown before it in the same block."""
    changes = np.zeros(len(image), bool)
    shown = np.flatnonzero(~omitted)
    changes[shown[1:]] = (image[shown[1:]] != image[shown[:-1]]) & (
        block[shown[1:]] == block[shown[:-1]]
    )
    return changes
