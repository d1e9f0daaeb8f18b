"""Tables of intensity measures -> a dataset.

gmprocess        flatfiles of gmprocess -> records
jma              JMA intensity and acceleration files -> records; better station coordinates
jma_format       bytes of JMA intensity and acceleration files -> tables
kiknet_flatfile  the KiK-net flatfile of Bahrampouri et al. -> records
layout           layouts of flatfiles: which column holds what
table            any wide flatfile -> a dataset, and a dataset -> one wide CSV file
wide             rows with all about a record -> events, stations, records
"""
