"""What a run is: settings, folds, files and tables, without verbs.

experiment     the validated, serialisable description of a run; presets
folds          roles of events and sites in each fold: training, validation, stopping
predictions    the predictions table: columns and groups of columns, reading, writing
member_folder  the folder of one trained member
ranges         training records of members: ranges of their values
manifest       hashes of the tables of a run
run            one opened run: its files, and the validated objects in them
beginning      begin a run folder, go on in it, or replace it
verification   which files of a run or a dataset are what was written
"""
