"""Basic modules that all other packages of tfgmm use: errors, files, intensity measures, grid, drawing.

arguments  check the types of the arguments of public functions
coast      coastlines, points on land, and the footprint (land inside the hull of the stations)
drawing    coastlines, maps, stations and epicentres drawn on axes; figures saved as files
errors     errors that a user can correct, and their messages on one line
extras     packages that only some features need, and the error that says how to install them
files      files written completely or not at all, removal of leftovers, hashes and checksums
grid       map projection, pixels, input window and output window of the network
imt        names of intensity measures (PGA, PGV, SA(T)): units, order, periods; standard gravity
lease      lock files, so that only one process at a time trains a member (one network of the ensemble)
outputs    checks of the names of output files and folders, before a result is written
rupture    surface of a rupture, and distances of places to it, km
shown      one line and a small table that say what an object is
sphere     longitudes wrapped to -180 to 180 degrees, and distances on a spherical Earth, km
"""
