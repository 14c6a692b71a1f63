"""Counts to latents: a LeJEPA that predicts its own future latents."""
