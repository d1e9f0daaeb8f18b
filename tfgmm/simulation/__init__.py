"""Simulated records with a planted truth.

oracle        how near to the planted median a map is, and how near it can be
random_field  Gaussian random fields that can be evaluated at any point
scenario      where and when the simulated stations and events are
simulated     simulated records with a planted truth
truth         the truth behind simulated records: median, site, path and event terms
"""
