"""Counts to spikes that carry the latents of a teacher."""
