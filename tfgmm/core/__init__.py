"""What every room needs: errors, files, measures, the grid, places, drawing.

coast    coastlines, and which points are on land
drawing  maps, stations and epicentres on axes; saved figures
errors   errors that a user can mend; messages on one line
files    write whole or not at all; content hashes
grid     map projection, pixel geometry, input and output windows
imt      intensity measure types and their units
lease    one process at a time trains a member: leases that end with their owner
outputs  refuse names and places where results cannot be written
sphere   longitudes of any convention, and distances on the Earth
"""
