"""Points, meshes and rasters -> site layers."""
