"""The study file: its tables, its search space, its arms and objectives."""
