"""Files of recordings, each read into the same records."""
