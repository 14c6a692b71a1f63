"""Networks as they leave: files that run outside the package, and are copied as they stand."""
