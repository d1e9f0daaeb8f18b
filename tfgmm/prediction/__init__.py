"""A trained run -> distributions anywhere."""
