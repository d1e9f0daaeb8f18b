"""How good a run is, and beside what.

baselines          what simpler models predict on the same folds
boosting           gradient boosting of the same records
comparison         runs beside each other and the publication; paired differences
effects            what was learned about sources and paths
effects_report     a run -> tables and maps of what was learned about sources and paths
evaluation         a finished run -> its tables and figures
figures            maps and distributions
parts              parts of sigma, predicted and found; what is left to gain between stations
probabilistic      scores of predicted distributions, in any grouping; who is over-confident
published          values that the study in the Kanto basin published
published_models   published ergodic models on the same folds
report             evaluations -> one HTML page, or a folder of Markdown
residual_figures   figures of residuals, their parts and calibration
residual_sections  what a reviewer asks of sigma: calibration, parts, trends of residuals
residuals          the full ensemble; bias and scatter against what may explain them
scored             everything that predicts the records of a run
scores             the four-way table; groups of records
section            an answer to a reviewer's question: a table, a figure and text
sections           what a reviewer asks of a run: how good is it, where, beside what
variability        residuals split into event, site and remaining parts
"""
