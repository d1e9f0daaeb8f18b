"""What readers share: tables, units, selection, catalogues, downloads.

bounded    files -> bytes, with a bound on memory
catalogue  event catalogues, tables or QuakeML, checked; better magnitudes
columns    small tables of places and events -> checked columns, whatever these are called
delimited  bytes of delimited text -> columns of text
fetch      files that are free to download: resumed, verified
matching   events of two catalogues that are one earthquake; two imports -> one dataset
quakeml    QuakeML -> events, as they stand in the file
selection  tables as read -> a dataset of the events, stations and records that can be used
sheet      files of tables -> named columns of text, or what a file is that is no table
units      units of acceleration: the unit that a file is in
workbook   an Excel workbook -> columns of text
"""
