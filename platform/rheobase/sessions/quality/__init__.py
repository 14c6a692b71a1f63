"""Checks of a recording and the choice of its units."""
