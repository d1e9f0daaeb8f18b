"""Files of site layers -> layers on longitude and latitude."""
