"""Simulated records whose median, event terms, site terms and path terms are known (the planted truth).

oracle     kriging with the planted covariance: the smallest error that a model can have
truth      planted truth: layers, median, event, site and path terms; Gaussian random fields
scenario   coordinates of the simulated stations; hypocentres, magnitudes and times of the events
simulated  simulated datasets, and the files with their planted truth
"""
