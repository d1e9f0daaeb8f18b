"""What readers share: tables, units, selection, catalogues, downloads."""
