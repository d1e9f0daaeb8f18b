"""The public functions and classes of tfgmm, which the package ``tfgmm`` itself exports by name.

The command line calls only these functions and classes.

dataset   datasets of events, stations and records: open, save, extend; options of all readers
reading   flatfiles and waveforms -> a dataset; site layers; download of the JMA files
asking    tables of earthquakes and sites to predict for; model servers
reports   comparison of runs, one report on several runs, verification of files
run       a run on disk: evaluation, site amplification, predictions, export
training  settings of a run, and its training
"""
