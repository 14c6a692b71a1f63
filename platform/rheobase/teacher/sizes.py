"""How much the teacher's training takes up at a time."""

VISIT_STEPS = 100
"""Steps on each session between two reports."""
TOGETHER = 4
"""Sessions that take turns step by step, and are held in memory filtered."""
STRETCH_BINS = 131_072
"""Bins of a session that are held filtered at a time: 22 minutes of 10 ms."""
MAX_COMPONENTS = 1024
"""Principal components that a read-in keeps: beyond them a session of many units has noise."""
