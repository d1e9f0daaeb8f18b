"""Tables of intensity measures -> a dataset.

gmprocess        flatfiles of gmprocess -> records
jma              JMA intensity and acceleration files -> records
jma_coordinates  better coordinates of JMA stations
jma_format       bytes of JMA intensity and acceleration files -> tables
kiknet_flatfile  the KiK-net flatfile of Bahrampouri et al. -> records
layout           which column of a table holds what
table            any wide flatfile -> records, and records -> one wide CSV
wide             rows with all about a record -> events, stations, records
"""
