"""Readers of flatfiles, which are tables with the intensity measures of records; each makes a dataset.

gmprocess        flatfiles of the program gmprocess (USGS)
jma              intensity and acceleration files of the Japan Meteorological Agency (JMA)
jma_format       fixed-width format of the JMA files, decoded into tables
kiknet_flatfile  the KiK-net flatfile of Bahrampouri et al. (2021)
layout           layouts of flatfiles: which column holds which quantity
table            flatfiles of any layout with one row per record; also writes such a file
wide             rows with all values of a record, split into events, stations and records
"""
