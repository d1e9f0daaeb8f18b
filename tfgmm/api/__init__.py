"""The public objects with their verbs, which ``tfgmm`` itself names; the command line calls nothing else.

dataset             a dataset with its verbs, and simulated records
choices             choices that all readers have
flatfiles           flatfiles -> a dataset, and their download
waveforms           waveforms -> a dataset
layers              site layers: read, and added to a dataset on disk
asking              earthquakes and places to predict for; model servers
reports             several runs beside each other, in one report; the state of files
opened_run          what a run is, what it was trained on, and how good it is
run                 a run with its verbs: what it has learned, what it predicts
training            settings -> a trained run
"""
