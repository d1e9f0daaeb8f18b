"""A trained run -> distributions anywhere.

ensemble   members -> maps of mean, aleatory and epistemic standard deviation
figures    maps of one predicted earthquake
map_files  maps of earthquakes on disk: NetCDF that grows, and GeoTIFF
places     where a distribution is wanted: every pixel of the map, or sites
ranges     what the members have learned from: ranges of values, and stations
scenarios  what is to be predicted: earthquakes, and sites
writing    earthquakes -> files of what engineers ask for, maps or a table of sites
"""
