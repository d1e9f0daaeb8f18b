"""Readers of site layers: files with meshes, rasters or tables of points -> maps of one site property.

jshis        J-SHIS deep structure and surface Vs30 -> site layer
netcdf       NetCDF 3 or 4 -> one variable on longitude and latitude
point_table  table of points -> site layer
raster       GeoTIFF of any map projection, and NetCDF -> site layer
recognise    file of any format, recognised by its first bytes -> site layer
shared       regions, longitudes, units, missing and repeated values, for readers of all formats
"""
