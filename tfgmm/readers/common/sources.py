"""Where records and site layers come from; nothing is imported, because every help text loads this."""

#: Annual intensity and acceleration files of the Japan Meteorological Agency.
JMA = "https://www.data.jma.go.jp/eqev/data/bulletin/data/shindo/"

#: Description of the sources that `tfgmm fetch` cannot fetch, for the help text and the documentation.
ACCOUNTS = """\
Sources that ask you to sign in:

K-NET, KiK-net (NIED): register at https://hinetwww11.bosai.go.jp/nied/registration/ (free), then
https://www.kyoshin.bosai.go.jp/ > Download > Data Download: choose events, take K-NET ASCII. Then
tfgmm import nied-ascii.

MeSO-net (NIED): the same account, at https://www.hinet.bosai.go.jp/ > Data: choose the network
MeSO-net and a time window, take WIN32 files and the channel table. Then tfgmm import mesonet.

KiK-net flatfile (Bahrampouri et al., 2021): https://doi.org/10.17603/ds2-e0ts-c070 (DesignSafe,
PRJ-2547): take attributes.csv and the HDF5 file of spectra. Then tfgmm import kiknet-flatfile.

Site layers of Japan (J-SHIS, NIED): https://www.j-shis.bosai.go.jp/ > Download: deep structure
D-V4-STRUCT_DEEP-LYRD.zip, surface Z-V4-JAPAN-AMP-VS400_M250.zip; agree to the terms. Then
tfgmm import bedrock and tfgmm import vs30."""
