"""Readers of accelerograms -> intensity measures in a dataset.

A piece is a stretch of samples of one channel without a gap.

archive             files in folders and nested archives, one after the other
event_windows       pieces of continuous waveforms -> one record without a gap per event and instrument
instruments         pairs of horizontals, their channels, and pieces of samples of a channel
intensity_measures  accelerograms -> PGA and response spectra
mesonet             continuous waveforms and an event catalogue -> records
nied                K-NET and KiK-net files -> pairs of horizontals -> records
nied_format         a K-NET or KiK-net file, ASCII or CSV -> components of a record
obspy_files         MiniSEED, SAC, GSE, text files and their station table -> pieces of samples
win32_files         WIN32 files and their channel table -> pieces of samples
"""
