"""Simulated records with a planted truth.

oracle        kriging with the planted covariance: the least error that a model can have
random_field  Gaussian random fields that can be evaluated at any point
scenario      places of the simulated stations, places and times of the earthquakes
simulated     simulated datasets, and the files of their truth
truth         the truth behind simulated records: median, site, path and event terms
"""
