"""Datasets of events, stations and records: checks, files, descriptions, figures and site layers.

schemas      columns of the tables of a dataset: names, groups, allowed values; roles
dataset      the class Dataset with its tables and site layers, and its folder on disk
description  tables that describe a dataset
figures      figures of stations, and of magnitudes and distances
layers       site layers (rasters of z_bedrock and vs30): checks, interpolation at the pixel centres
tally        counts of the events, stations and records read, and of those dropped, with reasons
"""
