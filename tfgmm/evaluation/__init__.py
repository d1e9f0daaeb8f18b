"""How good a run is, and beside what.

baselines          predictions of other models on the same folds: fitted, or published
comparison         runs beside each other and beside the Kanto study; paired differences
effects            what was learned about sources and paths: estimates, tables and maps
evaluation         evaluate a finished run: its tables and figures
figures            figures of predicted distributions, calibration, and simulated earthquakes
kanto_study        values of the study in the Kanto basin
probabilistic      scores of predicted distributions, in any grouping; who is over-confident
report             evaluations as one HTML page, or a folder of Markdown
residual_figures   figures of residuals: trends, terms, parts of sigma, correlations
residual_sections  sections on sigma and residuals: calibration, parts, trends
residuals          the full ensemble; bias and scatter of residuals against explanatory variables
scored_run         a run with all predictions of its records, by its ensemble and by the baselines
scores             groups of scored records; the four-way table
sections           sections of an evaluation (table, figure, text), and those on scores
sigma_parts        parts of sigma, predicted and estimated; what is left to gain between stations
variability        residuals split into event, site and remaining parts
"""
