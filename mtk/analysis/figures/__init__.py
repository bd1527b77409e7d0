"""Figures, one per file; each function returns a matplotlib figure and writes nothing."""
