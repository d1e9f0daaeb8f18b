"""What a run is: settings, folds, files and tables, without verbs.

experiment    the validated, serialisable description of a run; presets
folds         roles of events and sites in each fold: training, validation, stopping
run_folder    what lies where in a run, and what the run is
verification  which files of a run or a dataset are what was written
"""
