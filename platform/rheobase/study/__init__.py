"""Trials to a ranking: study file, sampler, ledger, statistics."""
