"""Evaluation of finished runs: scores, residuals, comparisons with other models, figures and reports.

backbone_section   section on the backbone: published models with weights and reasons, what they assume
baselines          predictions of other models on the same folds: fitted, or published
beyond_data        section on records outside the training range: bias and scatter by magnitude and distance
boosting           gradient-boosted trees on magnitude, places, distance and azimuth
comparison         several runs and the published Kanto study side by side; paired differences of scores
effects            source, site and path effects that records tell, beside observed ones: tables and maps
evaluation         evaluation of a finished run: tables and figures
figures            figures of distributions, calibration, residuals, terms and simulated earthquakes
scores             groups of scored records; scores of medians and of distributions; the four-way table
findings           what a run has learned, in words: beside what, where, how sure, sigma, use
magnitude_types    section on types of magnitudes: bias and RMSE for converted and other magnitudes
network_gain       section on added networks: what they gain by distance to their nearest station
report             evaluations as one HTML page, or a folder of Markdown
residual_sections  sections on sigma and residuals: calibration, parts of sigma, trends
residuals          the full ensemble; bias and scatter of residuals against explanatory variables
rivals             simple medians with the field of their residuals, which have the networks' information
scored_run         a run with all predictions of its records, by its ensemble and by the baselines
sections           sections of an evaluation (table, figure, text), and the sections on scores
spectra_sections   sections on several intensity measures: correlation of residuals, smoothness of spectra
variability        residuals split into event, site and remaining parts; parts of sigma
"""
