"""One dataset, checked and on disk.

columns      names of the columns that tables of records share
dataset      events, stations and records with site layers; their folder on disk
description  tables that describe a dataset
figures      figures of stations and of magnitudes and distances
layers       site layers (z_bedrock, vs30): checks, interpolation on the grid
roles        roles of events and sites; the records that train
schemas      columns of the tables of a dataset and the values they may hold
tally        counts of what a reader read and dropped, with reasons
"""
