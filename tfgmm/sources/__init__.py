"""Flatfiles, catalogues and intensity files -> records, one file a source."""
