"""Datasets of events, stations and records: checks, files, descriptions, figures and site layers.

columns      names of columns that several tables share; roles of events and sites (training, ...)
dataset      the class Dataset with its tables and site layers, and its folder on disk
description  tables that describe a dataset
figures      figures of stations, and of magnitudes and distances
layers       site layers (rasters of z_bedrock and vs30): checks, interpolation at the pixel centres
schemas      columns of the tables of a dataset, and the values that the columns may hold
tally        counts of the events, stations and records read, and of those dropped, with reasons
"""
