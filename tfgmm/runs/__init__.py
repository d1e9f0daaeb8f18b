"""Contents of a run folder: settings, folds, files and tables of one training of an ensemble.

experiment     the validated, serialisable settings of a run, and their presets
folds          roles of events and stations in each fold: training, validation, stopping
predictions    the predictions table: columns, groups of columns, reading and writing
member_folder  folders of trained networks (members), hashes of files, training records and their ranges
run            one opened run: its files, and the validated objects in them
summary        what a run is and what can be done with it, in words
configuration  the settings of a run as a file that ``tfgmm train --config`` reads
beginning      begin a run folder, continue the run in it, or replace it
verification   which files of a run or a dataset are unchanged, and which are damaged
"""
