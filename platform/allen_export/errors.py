"""The one error of this package."""


class ExportError(Exception):
    """What must hold, what was found, where, and what to do, in one line."""
