"""The public functions and classes of tfgmm, which the package ``tfgmm`` itself exports by name.

The command line calls only these functions and classes.

dataset             datasets of events, stations and records: open, save, extend; simulated records
choices             options that all readers of records have in common
flatfiles           flatfiles -> a dataset; download of the flatfiles of the JMA
waveforms           waveforms -> a dataset
layers              site layers (depth to bedrock, Vs30): read, and added to a dataset on disk
asking              tables of earthquakes and sites to predict for; model servers
reports             comparison of runs, one report on several runs, verification of files
opened_run          a run on disk: settings, training data, evaluation
run                 a run on disk: site amplification, predictions, export
training            settings of a run, and its training
"""
