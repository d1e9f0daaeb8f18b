"""What every room needs: errors, files, formats, intensity measures, the grid, coastlines, leases."""
