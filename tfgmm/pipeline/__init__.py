"""Records -> tensors."""
