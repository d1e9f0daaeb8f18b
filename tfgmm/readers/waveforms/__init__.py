"""Accelerograms -> records."""
