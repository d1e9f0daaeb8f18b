"""Statistics on tables and arrays, without TensorFlow.

backbone           published models, weighted and re-centred on the records of a region
backbone_fit       fit of a backbone: choice and weights of published models, re-centring
bootstrap          confidence intervals of scores, by resampling events and sites
calibration        scaling of the predicted standard deviation after the training
conditional_pgv    PGV given a spectral acceleration, for published models that have no PGV
ergodic            ergodic ground-motion model, fitted to the records by mixed-effects regression
field              one Gaussian process over earthquakes and places, given the residuals of records
field_covariance   covariance of the field by event, site and distance
field_event        formulas of the field for one event: new places, its own records, samples
field_fit          fit of this covariance to residuals, for one intensity measure or neighbouring ones
field_folds        mean and variance of the field at the records, from fits without them
field_parts        source terms and path terms of the field by themselves, with their variances
field_records      residuals of records by event, station and site, and pairs of event and place
field_solver       conjugate gradients for the weights of the records, few functions for the variance
im_correlation     correlation between intensity measures of each part of the residuals
japanese_models    published models of Japan, written from their equations: Zhao et al., Morikawa & Fujiwara
kriging            site terms kriged between the sites
listed_regression  regression with a prior and crossed effects, for records listed only above a level
mixed_effects      linear regression with crossed random effects of events and sites
mixture            mean, aleatory and epistemic variance of an ensemble of Normal distributions
published          published ergodic ground-motion models, computed by pygmm
published_scaling  scaling of published models with magnitude, distance and depth, as tables
recentring         difference of a region from published models, as a linear model with a prior
scaling_tables     interpolation of tables over magnitude, distance and depth, for arrays and tensors
site_response      site response by Vs30: linear term re-fitted, non-linear term as published
tectonics          tectonic classes of earthquakes and regions of published models
support            joint support of predictions by training records, and the share of the network
point_source       mean and variance of ln R_rup where only magnitude and hypocentre are known
"""
