"""Statistics on tables and arrays, without TensorFlow.

bootstrap       intervals by resampling events and sites
calibration     scaling of the predicted standard deviation
ergodic         the ergodic ground-motion model that is fitted to the records
mixed_effects   linear regression with crossed random effects
mixture         many Normal distributions -> mean, aleatory and epistemic variance
path_terms      source and path terms: what records of near sources tell of others
published       published ergodic models, through pygmm
random_effects  event, site and path terms around what the networks predict
site_kriging    site terms between the sites: kriging of event-corrected station means
within_event    within-event residuals: how far alike, what some tell of others
"""
