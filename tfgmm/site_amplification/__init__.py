"""What a run has learned about the ground.

amplification    what remains of ln IM at a place when source and path are averaged away
estimates        a run -> what it has learned about its sites, with every part of the error
event_means      what single members predict on average over events
event_selection  which events a map is averaged over
figures          maps of site amplification, and amplification against period
interpolation    how wrong a map of site terms is between the stations
layer_response   how predictions answer to the site layers alone
site_maps        estimates of site amplification as labelled maps and tables, and on disk
site_study       a run, opened to ask what it has learned about its sites
site_terms       empirical site terms: what the records say of their stations
writing          the same as maps, figures and tables in one folder
"""
