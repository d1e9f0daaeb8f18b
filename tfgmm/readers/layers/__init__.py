"""Points, meshes and rasters -> a site layer.

extent       longitudes of any convention, and regions -> one unbroken part of a map
geotiff      GeoTIFF -> one band, in degrees or a map projection
jshis        J-SHIS deep structure and surface Vs30 -> site layer
netcdf       NetCDF 3 or 4 -> one variable on longitude and latitude
point_table  table of points -> site layer
raster       GeoTIFF or NetCDF of any region -> site layer
recognise    any file of a site layer, recognised by its first bytes
values       values of a layer as files hold them; marks of missing ones
"""
