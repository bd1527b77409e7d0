"""Synthetic street scenes in CityScapes' format, without a download."""
