"""Site amplification that the networks of a run have learned, as maps with errors.

averaging   weights of events, and averages of the predictions of single members over events
estimate    an estimate of ln site amplification with its errors, from the maps of all members
estimators  all estimates of site amplification of a run, for one intensity measure
figures     figures of site amplification: maps, differences of runs, amplification against period
site_maps   estimates of site amplification as labelled maps and tables, and in files
site_study  a run opened to estimate its site amplification: options, events, weights, arms to compare with
site_terms  empirical site terms, and the errors of maps between stations
writing     map the site amplification of a run in one call: train, estimate, write
"""
