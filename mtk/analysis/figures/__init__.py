"""Figures, one a file; each function returns a matplotlib figure and writes nothing."""
