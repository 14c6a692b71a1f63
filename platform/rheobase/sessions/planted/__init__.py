"""Simulated sessions with known latents."""
