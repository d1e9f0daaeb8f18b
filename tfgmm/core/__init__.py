"""What every room needs: errors, files, formats, measures, the grid, places, drawing.

coast    coastlines and what is land
drawing  maps, stations and epicentres on axes; saved figures
endings  endings of names of files mean formats, or are refused
errors   what can be wrong with the data or the command
files    write whole or not at all; content hashes
grid     map projection, pixel geometry, input and output windows
imt      intensity measure types and their units
lease    one process at a time trains a member: leases that end with their owner
sphere   longitudes of any convention, and distances on the Earth
"""
