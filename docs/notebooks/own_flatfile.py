# ---
# jupytext:
#   text_representation:
#     format_name: percent
# kernelspec:
#   display_name: Python 3
#   language: python
#   name: python3
# ---

# %% [markdown]
# # Use your own flatfile
#
# This notebook takes a table with one row per record, as most institutes keep it, and ends with a
# prediction at a site. It runs in less than a minute. To have a table that everybody can run, the first
# cell writes one; skip it and put your own file in its place.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import tfgmm

# %% [markdown]
# ## A flatfile
#
# The amplitudes are simulated. The names of the columns, the unit (gal) and the mark of missing values
# (-999) are those of an invented institute. Of 50 stations a few have no Vs30.

# %%
source = tfgmm.simulate(events=120, kik_stations=50, meso_stations=10, meso_events=2, seed=2)
rows = source.records.merge(source.events, on="event_id").merge(
    source.stations, on="station_id", suffixes=("_event", "_station")
)
rows = rows[rows["network"] == "kik"]
flatfile = pd.DataFrame(
    {
        "quake": rows["event_id"],
        "time_utc": rows["origin_time"].dt.strftime("%Y-%m-%dT%H:%M:%S"),
        "quake_lon": rows["longitude_event"].round(4),
        "quake_lat": rows["latitude_event"].round(4),
        "depth": rows["depth_km"].round(1),
        "Mw": rows["magnitude"].round(2),
        "code": rows["station_id"],
        "code_lon": rows["longitude_station"].round(5),
        "code_lat": rows["latitude_station"].round(5),
        "vs30": rows["vs30_m_s"].round(0).where(rows["vs30_m_s"] < 650, -999),
        "pga_gal": (rows["PGA"] * 980.665).round(4),
        "T1.0": (rows["SA(1.0)"] * 980.665).round(4),
    }
)
flatfile.to_csv("institute.csv", index=False)
flatfile.head()

# %% [markdown]
# ## Import
#
# `columns` says which column holds what, `constants` what all rows share. In the pattern of `SA`, `{T}`
# is the period in seconds. A wrong unit is noticed: the amplitudes are compared with a published model.

# %%
columns = {
    "event_id": "quake",
    "origin_time": "time_utc",
    "event_longitude": "quake_lon",
    "event_latitude": "quake_lat",
    "depth_km": "depth",
    "magnitude": "Mw",
    "station_id": "code",
    "station_longitude": "code_lon",
    "station_latitude": "code_lat",
    "vs30_m_s": "vs30",
    "PGA": "pga_gal",
    "SA": "T{T}",
}
constants = {"network": "mine", "component": "geometric_mean"}
try:
    tfgmm.read_table("institute.csv", columns=columns, constants=constants, unit="g")
except tfgmm.DataError as error:
    print(error)

# %%
data = tfgmm.read_table(
    "institute.csv",
    columns=columns,
    constants=constants,
    unit="gal",
    min_magnitude=3.5,
    max_distance_km=250,
)
data

# %% [markdown]
# What was read and what was dropped is counted, with the reason.

# %%
tables = data.describe()
tables["Read"]

# %%
tables["Dropped"]

# %% [markdown]
# ## A site layer
#
# Maps of Vs30 or of depth to bedrock make the model better between stations. NetCDF, GeoTIFF, the files
# of J-SHIS and tables of points are read. A layer must reach over the map. Without layers all of this
# works too.

# %%
source.layers["vs30"].to_netcdf("vs30.nc")
data = data.add_layer(tfgmm.read_layer("vs30.nc", "vs30"))
data.save("data/mine", overwrite=True)

# %% [markdown]
# ## Train
#
# The centre of the map and its projection belong to the region; the default is Kanto. For another one
# give `center=(longitude, latitude)` and `crs`, as `EPSG:32633`. Both measures are predicted by the same
# networks. With one network of stations the reference is that network.
#
# `split` says which earthquakes are held out: here a fifth of all, at random. The settings are those of a
# demonstration; for a model to be used leave out `preset`, `chunks`, `epochs` and `backbone`.

# %%
run = tfgmm.train(
    "data/mine",
    "mine",
    ims=["PGA", "SA(1.0)"],
    split="random-events:0.2",
    preset="quick",
    chunks=2,
    epochs=2,
    backbone="BSSA14",
    out="runs/mine",
    overwrite=True,
)
run

# %%
run.evaluate(baselines=False).section("four_way").shown

# %% [markdown]
# ## Predict at a site
#
# Earthquakes of magnitude 4.5 to 6 as they would shake a place where Vs30 is known. The table also holds
# `between_event` and `within_event`, the two parts of the standard deviation that hazard software asks
# for.

# %%
site = pd.DataFrame(
    {"site_id": ["school"], "longitude": [139.62], "latitude": [35.75], "vs30_m_s": [320.0]}
)
events = pd.concat(
    [
        tfgmm.scenario(m, longitude=139.8, latitude=35.5, depth_km=30.0).assign(event_id=f"M {m}")
        for m in (4.5, 5, 5.5, 6)
    ]
)
run.predict(events, "school.csv", im="all", sites=site, exceed=[0.1], percentiles=[84], overwrite=True)
school = pd.read_csv("school.csv")
columns = ["event_id", "im", "median_g", "percentile_84_g", "stddev", "exceed_0.1", "support"]
school[columns].round(4)

# %%
fig, axis = plt.subplots(figsize=(5, 3.6), layout="constrained")
for im, rows in school.groupby("im"):
    axis.errorbar(
        rows["magnitude"],
        rows["median_g"],
        yerr=[
            rows["median_g"] * (1 - np.exp(-rows["stddev"])),
            rows["median_g"] * (np.exp(rows["stddev"]) - 1),
        ],
        marker="o",
        capsize=3,
        label=im,
    )
axis.set(yscale="log", xlabel="magnitude", ylabel="median and one standard deviation, g")
axis.legend()
plt.show()

# %% [markdown]
# `support` counts the training records that are like a prediction. It falls with magnitude: there the
# published models of the backbone decide.
#
# ## Where next
#
# - All formats, and what is checked: [importing records and site layers](../importing.md).
# - Ruptures, catalogues, servers: [predict, export and serve](../prediction.md).
# - The same on the command line: `tfgmm import table institute.csv --unit gal --map event_id=quake ...
#   --out data/mine`.
