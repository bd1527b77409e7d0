"""Parallel text: phrases, token files, and the vocabulary that they share."""
