"""What a run has learned about the ground.

averaging   weights of events, and averages of single members over events
estimate    an estimate of site amplification with its errors, from the maps of all members
estimators  estimates of a run by every estimator, for one intensity measure
figures     figures of site amplification: maps, differences of runs, amplification against period
site_maps   estimates of site amplification as labelled maps and tables, and on disk
site_study  a run opened to ask what it has learned: options, events, weights, arms to compare with
site_terms  empirical site terms, and the errors of maps between stations
writing     map the site amplification of a run in one call: train, measure, write
"""
