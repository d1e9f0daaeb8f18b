"""How good a run is, and beside what."""
