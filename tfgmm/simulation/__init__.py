"""Simulated records with a planted truth."""
