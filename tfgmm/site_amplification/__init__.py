"""Site amplification that the networks of a run have learned, as maps with errors.

estimate    estimates of ln site amplification with errors, averaged over events and members
estimators  all estimates of site amplification of a run, for one intensity measure
writing     site amplification of a run -> maps, tables and figures, in one call
site_maps   estimates of site amplification as labelled maps and tables, and in files
site_study  a run opened to estimate its site amplification: options, events, weights, arms to compare with
site_terms  empirical site terms, and the errors of maps between stations
"""
