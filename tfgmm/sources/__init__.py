"""Outside formats -> records or site layers, one file a source."""
