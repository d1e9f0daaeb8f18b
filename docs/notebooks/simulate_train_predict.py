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
# # Simulate, train, predict
#
# This notebook makes records, learns a ground-motion model from them, and predicts an earthquake. The
# records are simulated, so the true median is known and can be drawn beside the prediction. It runs in
# less than a minute.
#
# The settings are far too small for a model to be used: 150 earthquakes, an ensemble of two U-Nets, two
# passes over the data. The preset `standard` takes an hour or so; nothing else changes.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import tfgmm

# %% [markdown]
# ## Records
#
# `kik` is a sparse network, `meso` a dense one in the middle. A dataset holds events, stations, records
# and site layers.

# %%
data = tfgmm.simulate(events=150, kik_stations=40, meso_stations=60, meso_events=5, seed=1)
data

# %%
data.records[["event_id", "station_id", "PGA", "SA(1.0)"]].head()

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for network, stations in data.stations.groupby("network"):
    left.plot(stations["longitude"], stations["latitude"], "^", markersize=4, label=network)
left.set(xlabel="longitude", ylabel="latitude", aspect=1.23, title="Stations")
left.legend(loc="upper left")
right.plot(data.events["magnitude"], data.events["depth_km"], "o", markersize=4)
right.set(xlabel="magnitude", ylabel="depth, km", title="Earthquakes")
right.invert_yaxis()
plt.show()

# %% [markdown]
# `save` writes the dataset into a folder, `tfgmm.open_dataset` reads it again.

# %%
data.save("data/simulated", overwrite=True)

# %% [markdown]
# ## Training
#
# The sites of the reference network, the first one, are divided into chunks. Each network of the ensemble
# trains without the records of its chunk, so that every site is predicted once by a network that has
# never seen it. Two chunks and two epochs are enough to see how it works. The networks add to a backbone
# of published models; taking one model saves some seconds. If the call is interrupted, the same call goes
# on.

# %%
run = tfgmm.train(
    "data/simulated",
    ["kik", "meso"],
    preset="quick",
    chunks=2,
    epochs=2,
    backbone="BSSA14",
    out="runs/first",
    overwrite=True,
)
run

# %% [markdown]
# ## How good is it?
#
# The four-way table: sites and events that trained or that were held out, in all four combinations. RMSE
# is that of ln PGA. In the block *validation / validation* neither site nor event is known, as for a
# future earthquake between the stations. So few records decide little: simple regressions may be ahead
# here. On all simulated records they are not ([results](../results/simulated-kik-meso.md)).
# `baselines=False` leaves out the models that take minutes to fit.

# %%
evaluation = run.evaluate(baselines=False)
evaluation.section("four_way").shown

# %% [markdown]
# The records tell how large the parts of the scatter are, in ln units. Planted are 0.35 between events
# (tau), 0.36 between sites (phi_S2S, without the part that layers explain), 0.32 of source and path
# together, and 0.40 for the rest (phi_SS).

# %%
run.field("PGA").summary()

# %% [markdown]
# ## An earthquake
#
# Magnitude 5.5 under Tokyo Bay, predicted at every pixel of the map. `mean` is that of ln PGA in g,
# `stddev` the total standard deviation, and `support` how many training records are like the prediction.

# %%
event = tfgmm.scenario(magnitude=5.5, longitude=139.8, latitude=35.5, depth_km=30.0)
maps = run.ensemble("PGA").maps(event).isel(event=0)
maps

# %%
longitude, latitude = maps["longitude"].values, maps["latitude"].values
planted = data.truth.median("PGA", event, longitude.ravel(), latitude.ravel()).reshape(longitude.shape)

panels = {"planted median": np.exp(planted), "predicted median": np.exp(maps["mean"].values)}
levels = np.concatenate([panel.ravel() for panel in panels.values()])
fig, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained", sharey=True)
for axis, (title, values) in zip(axes, panels.items(), strict=False):
    colours = axis.pcolormesh(
        longitude, latitude, values, norm="log", vmin=levels.min(), vmax=levels.max(), cmap="viridis"
    )
    axis.set_title(title)
fig.colorbar(colours, ax=axes[:2], label="PGA, g")
colours = axes[2].pcolormesh(longitude, latitude, maps["stddev"], cmap="magma")
axes[2].set_title("standard deviation")
fig.colorbar(colours, ax=axes[2], label="ln units")
for axis in axes:
    axis.plot(
        event["longitude"], event["latitude"], "*", color="white", markeredgecolor="black", markersize=12
    )
    axis.plot(data.stations["longitude"], data.stations["latitude"], "k^", markersize=2)
    axis.set(xlabel="longitude", aspect=1.23, xlim=(longitude.min(), longitude.max()))
    axis.set_ylim(latitude.min(), latitude.max())
axes[0].set_ylabel("latitude")
plt.show()

# %% [markdown]
# *White star: epicentre; triangles: stations. Simulated records.*
#
# ## At sites
#
# The same ensemble predicts at places of your own. Where `support` is below 10, few records are like the
# prediction, and the published models of the backbone carry it.

# %%
sites = pd.DataFrame(
    {
        "site_id": ["Shinjuku", "Yokohama", "Chiba"],
        "longitude": [139.70, 139.64, 140.12],
        "latitude": [35.69, 35.44, 35.61],
    }
)
predicted = run.ensemble("PGA").at_sites(event, sites).isel(event=0)
table = (
    predicted[["mean", "stddev", "aleatory", "epistemic", "support"]].to_dataframe().set_index("site_id")
)
table.insert(0, "median_g", np.exp(table.pop("mean")))
table[["median_g", "stddev", "aleatory", "epistemic", "support"]].round(3)

# %% [markdown]
# ## Into files
#
# `predict` writes files: NetCDF, GeoTIFF or figures of maps, tables of sites. The ending says which.

# %%
run.predict(event, "tokyo-bay.nc", exceed=[0.1], overwrite=True)
run.predict(event, "sites.csv", sites=sites, percentiles=[16, 84], overwrite=True)
pd.read_csv("sites.csv").T

# %% [markdown]
# ## Where next
#
# - Your own records: [your own flatfile](own_flatfile.py).
# - What is computed: [method](../method.md). What the words mean: [glossary](../glossary.md).
# - All of a run as one page with figures: `run.report()`.
