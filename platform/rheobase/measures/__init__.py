"""Published measures: arrays in, numbers out."""
