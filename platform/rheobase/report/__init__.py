"""Ranking to page: figures, HTML, TensorBoard."""
