"""What a run has learned about the ground."""
