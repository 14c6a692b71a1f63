"""Published measures: arrays in, numbers out.

`heldout_cca` here takes any two arrays; those of the modules take the labels of a session.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rheobase.measures.arrays import ArrayScore as ArrayScore
    from rheobase.measures.arrays import heldout_cca as heldout_cca

__all__ = ["ArrayScore", "heldout_cca"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from rheobase.measures import arrays

        return getattr(arrays, name)
    raise AttributeError(f"module 'rheobase.measures' has no attribute '{name}'")
