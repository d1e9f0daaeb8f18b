"""Ground-motion models learned as image processing.

The house, in the order in which data flow through it. A module imports only from modules listed
above it (``tests/conformance/test_import_order.py`` holds us to it).

errors                  what can be wrong with the data or the command
files                   write whole or not at all; content hashes
imt                     intensity measure types and their units
grid                    map projection, pixel geometry, input and output windows
coast                   coastlines and what is land
experiment              the validated, serialisable description of a run; presets
records                 the flatfile: events, stations, records; checks, parquet
layers                  site layers (z_bedrock, vs30) on the grid
mixed_effects           linear regression with crossed random effects
ergodic                 the ergodic ground-motion model that is fitted to the records
sources.selection       what every reader of records keeps and drops, and why
sources.jma_format      bytes of JMA intensity and acceleration files -> tables
sources.jma             JMA intensity and acceleration files -> records
sources.layer_table     table of points -> site layer
sources.random_field    Gaussian random fields that can be evaluated at any point
sources.truth           the truth behind simulated records: median, site, path and event terms
sources.scenario        where and when the simulated stations and events are
sources.simulated       simulated records with a planted truth
run_folder              what lies where in a run, and what the run is
pipeline.channels       the maps: name, unit, group (source | path | site), formula
pipeline.splits         roles of events and sites: training, validation, stopping
pipeline.dataset        tf.data: records -> (event maps, station pixels, ln IM, weights)
mixture                 many Normal distributions -> mean, aleatory and epistemic variance
model.unet              channels -> parameter map
model.normal            Normal distribution at every pixel, likelihood at station pixels
model.member            train, save, load one member
model.training          train what a run lacks; the predictions table
model.ensemble          members -> maps of mean, aleatory and epistemic standard deviation
analysis.baselines      the ergodic regression, scored on the same folds
analysis.scores         the four-way table
analysis.oracle         how near to the planted median a map is, and how near it can be
analysis.figures        maps and distributions
analysis.evaluation     a finished run -> its tables and figures
analysis.description    what a dataset holds, in a few tables
console                 tables and progress on the terminal
cli                     the command line
"""
