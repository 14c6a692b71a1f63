"""Forecasts of counts: what a run's teacher and networks tell of the next bin."""
