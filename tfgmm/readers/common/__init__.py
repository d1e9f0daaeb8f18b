"""Modules that all readers share: tables, units, selection of records, event catalogues, downloads.

bounded       read the bytes of files, compressed or not, with a limit on memory
catalogue     read event catalogues (tables or QuakeML); replace magnitudes by those of a catalogue
sheet         read a table file (text, Excel, Parquet) into named columns; identify other files
table_files   split delimited text (CSV, TSV, ...) and Excel workbooks into columns of text
fetch         download files that need no account; resume and verify downloads
sources       where records and site layers come from: addresses, and what asks you to sign in
matching      match the events of two catalogues; combine two imports into one dataset
selection     select usable events, stations and records within limits, and make a dataset of them
units         units of acceleration: detect the unit of a file, or check a stated unit
rupture_file  read the surface of a rupture (ShakeMap), or strike, dip, length and width (table)
"""
