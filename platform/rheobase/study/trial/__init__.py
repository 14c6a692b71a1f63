"""A trial: students trained together, measured, run again, exported."""
