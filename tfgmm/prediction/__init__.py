"""Predictions of a trained run: distributions of ln IM on the map, at sites and at stations.

conditioning  means and variances of members, backbone, field, calibration -> one distribution of ln IM
ensemble      the members of a run -> distributions of ln IM for earthquakes, as maps or at sites
field_graph   the field of records as TensorFlow functions, in bounded memory
field_terms   terms of sources, sites and paths that the records of a run tell: tables and maps
writing       predictions -> files: maps as NetCDF, GeoTIFF or figures, or a table of sites
places        places for which a distribution is predicted: all pixels of the map, or sites
quantities    distributions -> labelled datasets; median, exceedance probabilities, percentiles
sanity        predicted medians beside published models where records are few; warnings
spectra       the ensembles of several intensity measures as one, also between two periods of the run
spectrum_figure  figure of predicted response spectra at places
scenarios     earthquakes and sites to be predicted, read and checked
"""
