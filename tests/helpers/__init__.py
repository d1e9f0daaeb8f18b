"""What many tests need: small datasets, runs and files, made here."""
