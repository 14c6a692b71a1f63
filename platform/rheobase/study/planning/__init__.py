"""What a study needs before anything runs, and what it refuses."""
