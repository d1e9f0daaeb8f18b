"""What readers share: tables, units, selection, catalogues, downloads.

bounded          files -> bytes, with a bound on memory
catalogue        event catalogues, checked; better magnitudes
catalogue_table  tables of events of any agency -> events
column_names     what columns of tables of places and events are called
combine          two imports add up to one dataset
delimited        bytes of delimited text -> columns of text
fetch            files that are free to download: resumed, verified
kinds            what a file is that is no table, and what to do about it
matching         which events of two catalogues are one earthquake
quakeml          QuakeML -> events, as they stand in the file
selection        what every reader of records keeps and drops, and why
sheet            files of tables -> named columns of text
units            units of acceleration: which one a file is in, and whether it can be
workbook         an Excel workbook -> columns of text
"""
