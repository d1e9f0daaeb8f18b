"""The model where its users need it: an ensemble as a SavedModel, and its clients."""
