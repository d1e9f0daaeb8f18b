"""Files of others -> a dataset or a site layer."""
