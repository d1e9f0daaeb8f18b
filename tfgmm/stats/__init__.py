"""Statistics on tables and arrays, without TensorFlow.

bootstrap         confidence intervals of scores, by resampling events and sites
calibration       scaling of the predicted standard deviation after the training
effect_estimates  standard deviations and terms of sites and events, for `random_effects`
ergodic           ergodic ground-motion model, fitted to the records by mixed-effects regression
mixed_effects     linear regression with crossed random effects of events and sites
mixture           mean, aleatory and epistemic variance of an ensemble of Normal distributions
path_covariance   covariance of residuals by distance between sources and between stations
path_terms        source and path terms, kriged from the training records of near sources
point_source      mean and variance of ln R_rup where only magnitude and hypocentre are known
published         published ergodic ground-motion models, computed by pygmm
random_effects    event, site and path terms, estimated and added to the predictions of the networks
site_kriging      site terms between the sites, kriged from event-corrected mean residuals of sites
within_event      within-event residuals: their correlation by distance, and kriging within an event
"""
