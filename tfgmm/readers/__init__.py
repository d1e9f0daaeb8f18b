"""Files of others -> a dataset or a site layer.

common     what readers share: tables, units, selection, catalogues, downloads
flatfiles  tables of intensity measures -> a dataset
layers     points, meshes and rasters -> a site layer
waveforms  accelerograms -> a dataset
"""
