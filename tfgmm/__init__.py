"""Ground-motion models learned as image processing.

The house has thirteen rooms, in the order in which data flow through them. A room imports only from
rooms above it, and inside a room imports have no circle (``tests/conformance/test_rooms.py``). What a
room is for, and which files are in it, stands in the first lines of its ``__init__.py``.

core                what every room needs: errors, files, measures, the grid, places, drawing
data                one dataset, checked and on disk
readers             files of others -> a dataset or a site layer
stats               statistics on tables and arrays, without TensorFlow
simulation          records with a planted truth
runs                what a run is: settings, folds, files and tables, without verbs
network             maps, U-Net, likelihood, training
prediction          a trained run -> distributions anywhere
evaluation          how good a run is, and beside what
site_amplification  what a run has learned about the ground
serving             the model elsewhere: export, servers, clients
cli                 the command line: parses and prints
"""

__version__ = "0.2.0"
