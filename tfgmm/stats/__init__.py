"""Statistics on tables and arrays, without TensorFlow."""
