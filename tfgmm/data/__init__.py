"""One dataset, checked and on disk.

columns      columns that tables of records share; roles of events and sites in them
dataset      events, stations and records with site layers; their folder on disk
description  tables that describe a dataset
figures      figures of stations and of magnitudes and distances
layers       site layers (z_bedrock, vs30): checks, interpolation on the grid
schemas      columns of the tables of a dataset and the values they may hold
tally        counts of what a reader read and dropped, with reasons
"""
