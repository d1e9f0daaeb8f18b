"""Maps, U-Net, likelihood and training."""
