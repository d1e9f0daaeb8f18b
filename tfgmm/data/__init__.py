"""One dataset, checked and on disk.

dataset      events, stations and records: checks, folder on disk
columns      names of the columns that tables of records share
description  what a dataset holds, in a few tables
figures      figures of stations and of magnitudes and distances
layers       site layers (z_bedrock, vs30) on the grid
roles        roles of events and sites; the records that train
tally        what a reader read, and what it dropped and why
"""
