"""Everything that is computed from the predictions table (no TensorFlow here)."""
