"""Simulated records whose median, event terms, site terms and path terms are known (the planted truth).

oracle        kriging with the planted covariance: the smallest error that a model can have
random_field  Gaussian random fields that can be evaluated at any point
scenario      coordinates of the simulated stations; hypocentres, magnitudes and times of the events
simulated     simulated datasets, and the files with their planted truth
truth         the planted truth: median, site, path, source and event terms, and the site layers
"""
