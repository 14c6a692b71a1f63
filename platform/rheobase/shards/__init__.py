"""Spikes to counts: binning, windows, splits, the Arrow store."""
