"""From stored results to a ranking and its statistics."""
