"""What a run is: its settings, folds, files and tables, without verbs."""
