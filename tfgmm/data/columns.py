"""Names of the columns that tables of records share, in groups."""

#: What tells records apart, and members.
RECORD = ["event_id", "station_id"]
MEMBER = ["chunk", "init"]
#: Places in km east and north of the map's centre.
SOURCE_XY, SITE_XY = ["event_x_km", "event_y_km"], ["x_km", "y_km"]

#: What random effects tell of a record, in ln units, and the standard deviations of what they leave open.
TERMS = ["event_term", "site_term", "path_term", "within_term"]
TERM_STDDEVS = ["event_stddev", "site_stddev", "path_stddev", "within_stddev"]
#: Standard deviations of the same parts where nothing is known of event, site, path and record.
UNKNOWN_STDDEVS = ["tau", "phi_s2s", "phi_field", "phi_p2p", "phi_ss"]
