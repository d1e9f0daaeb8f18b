"""Statistics on tables and arrays, without TensorFlow.

bootstrap         intervals by resampling events and sites
calibration       scaling of the predicted standard deviation
effect_estimates  variances and terms of a member, for the random effects
ergodic           the ergodic ground-motion model that is fitted to the records
mixed_effects     linear regression with crossed random effects
mixture           many Normal distributions -> mean, aleatory and epistemic variance
path_covariance   covariance of residuals by distance between sources and between stations
path_terms        source and path terms, kriged from the records of near sources
published         published ergodic models, through pygmm
random_effects    event, site and path terms around the predictions of the networks
site_kriging      site terms between the sites: kriging of event-corrected station means
within_event      within-event residuals: their correlation by distance, and kriging
"""
