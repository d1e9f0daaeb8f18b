"""Statistics on tables and arrays, without TensorFlow.

backbone           published models, weighted and re-centred on the records of a region
backbone_fit       fit of a backbone: choice and weights of published models, re-centring
bootstrap          confidence intervals of scores, by resampling events and sites
calibration        scaling of the predicted standard deviation after the training
effect_estimates   standard deviations and terms of sites and events, for `random_effects`
ergodic            ergodic ground-motion model, fitted to the records by mixed-effects regression
listed_regression  regression with a prior and crossed effects, for records listed only above a level
mixed_effects      linear regression with crossed random effects of events and sites
mixture            mean, aleatory and epistemic variance of an ensemble of Normal distributions
path_covariance    covariance of residuals by distance between sources and between stations
path_terms         source and path terms, kriged from the training records of near sources
published          published ergodic ground-motion models, computed by pygmm
published_scaling  scaling of published models with magnitude, distance and depth, as tables
random_effects     event, site and path terms, estimated and added to the predictions of the networks
recentring         difference of a region from published models, as a linear model with a prior
scaling_tables     interpolation of tables over magnitude, distance and depth, for arrays and tensors
site_kriging       site terms between the sites, kriged from event-corrected mean residuals of sites
site_response      site response by Vs30: linear term re-fitted, non-linear term as published
tectonics          tectonic classes of earthquakes and regions of published models
within_event       within-event residuals: their correlation by distance, and kriging within an event
"""
