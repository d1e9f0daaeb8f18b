"""One dataset, checked and on disk, with its site layers; tables and figures that describe it."""
