"""Accelerograms -> a dataset.

archive             files in folders and archives, one after the other
continuous          WIN32 files of any length -> pieces of acceleration or velocity
event_windows       pieces -> one gapless record an event and instrument
gse                 GSE 1.0 and 2.0 files -> traces
instruments         what a channel measures, and which channels are the horizontals
intensity_measures  accelerograms -> PGA and response spectra
mesonet             continuous waveforms and an event catalogue -> records
nied_ascii          K-NET and KiK-net files -> records
nied_csv            the CSV form of such a file -> its components
nied_format         bytes of a K-NET or KiK-net file -> one component
nied_pairs          such files -> pairs of horizontals, events, stations
obspy_files         all other waveform files -> such pieces
station_table       their station table -> places and scales
trace_files         MiniSEED, SAC, GSE and text files -> traces
win32               NIED WIN32 files -> samples
win32_channels      their channel table -> stations, units and sensitivities
"""
