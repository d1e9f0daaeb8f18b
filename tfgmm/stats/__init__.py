"""Statistics on tables and arrays, without TensorFlow.

bootstrap       confidence intervals of scores, by resampling events and sites
calibration     scaling of the predicted standard deviation after the training
random_effects  event, site and path terms: estimated from residuals, and added to predictions
ergodic         ergodic ground-motion model, fitted to the records by mixed-effects regression
mixed_effects   linear regression with crossed random effects of events and sites
mixture         mean, aleatory and epistemic variance of an ensemble of Normal distributions
path_terms      source and path terms: covariance, and kriging to new earthquakes and places
published       published ergodic ground-motion models, computed by pygmm
support         joint support of predictions by training records, and the share of the network
kriging         site terms kriged between the sites, within-event residuals within an event
"""
