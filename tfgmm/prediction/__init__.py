"""A trained run -> distributions anywhere.

conditioning  members, and what is known of site and path -> one distribution; arrays and tensors alike
ensemble      the members of a run -> distributions for earthquakes, as maps or at sites
figures       maps of one predicted earthquake
places        where a distribution is wanted: every pixel of the map, or sites
quantities    distributions -> labelled datasets; median, exceedance probabilities, percentiles
scenarios     what is to be predicted: earthquakes, and sites
writing       earthquakes -> files: maps as NetCDF, GeoTIFF or figures, or a table of sites
"""
