"""Trained networks of stored trials, and how they leave."""
