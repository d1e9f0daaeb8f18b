"""The network, its likelihood, members and ensembles."""
