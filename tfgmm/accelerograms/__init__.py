"""Waveform files of seismic networks -> records."""
