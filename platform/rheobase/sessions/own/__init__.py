"""Recordings that users hold in memory, or in other libraries."""
