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
# # Map site amplification
#
# What has a run learned about the ground? This notebook trains a small ensemble on simulated records and
# maps site amplification: how much stronger, in ln units, shaking is at a pixel than at the average pixel
# between the stations. The records are simulated, so the true map can be drawn beside it. It runs in less
# than a minute.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

import tfgmm

# %%
data = tfgmm.simulate(events=200, kik_stations=60, meso_stations=80, meso_events=8, seed=3)
run = tfgmm.train(
    data,
    ["kik", "meso"],
    preset="quick",
    chunks=2,
    epochs=2,
    backbone="BSSA14",
    out="runs/ground",
    overwrite=True,
)
run

# %% [markdown]
# ## Estimate
#
# `arms=[]` takes the networks of the run alone and trains nothing. Two estimators follow: `one_ensemble`
# averages the predictions of many earthquakes, less their median by magnitude, distance and depth;
# `layers` asks how predictions change with the depth to bedrock and Vs30 alone. All earthquakes are
# averaged here, not only those held out, since there are so few.

# %% tags=["remove-output"]
amplification = run.site_amplification(arms=[], events=["role:all"], min_records=3, overwrite=True)

# %%
amplification.summary.T

# %% [markdown]
# ## Maps
#
# Maps, figures and tables are in the folder `site_amplification` of the run. A pixel is *taught* if
# enough records are near it; the *footprint* is the land between the stations.

# %%
with xr.open_dataset(amplification.folder / "site_amplification.nc") as opened:
    maps = opened.sel(im="PGA").load()
inside = (maps["taught"] * maps["footprint"]).values.astype(bool)
longitude, latitude = maps["longitude"].values, maps["latitude"].values
planted = data.truth.site_map("PGA", longitude.ravel(), latitude.ravel()).reshape(longitude.shape)
planted = np.where(inside, planted - planted[inside].mean(), np.nan)

panels = {"planted": planted} | {
    name: np.where(inside, maps["amplification"].sel(estimator=name).values, np.nan)
    for name in maps["estimator"].values
}
fig, axes = plt.subplots(1, len(panels), figsize=(12, 4), layout="constrained", sharey=True)
for axis, (title, values) in zip(axes, panels.items(), strict=True):
    colours = axis.pcolormesh(longitude, latitude, values, cmap="RdBu_r", vmin=-0.6, vmax=0.6)
    axis.contour(
        longitude, latitude, maps["z_bedrock"], levels=[1000, 2000, 3000], colors="black", linewidths=0.6
    )
    axis.plot(data.stations["longitude"], data.stations["latitude"], "k^", markersize=2)
    axis.set(title=title, xlabel="longitude", aspect=1.23, xlim=(138.9, 141), ylim=(34.9, 36.6))
axes[0].set_ylabel("latitude")
fig.colorbar(colours, ax=axes, label="ln amplification of PGA", extend="both")
plt.show()

# %% [markdown]
# *Lines: depth to bedrock of 1, 2 and 3 km; triangles: stations. Simulated records.*
#
# Over the deep basin PGA is weaker, as planted. How near each map is to the truth, in numbers:

# %%
pd.DataFrame(
    {
        name: {
            "correlation": np.corrcoef(values[inside], planted[inside])[0, 1],
            "RMSE": np.sqrt(np.mean((values - planted)[inside] ** 2)),
            "mean standard error": maps["standard_error"].sel(estimator=name).values[inside].mean(),
        }
        for name, values in panels.items()
        if name != "planted"
    }
).round(2)

# %% [markdown]
# ## What the records alone tell
#
# The field of the run holds a site term for each station, with its standard deviation. No map can show
# the part of it that is the station's own.

# %%
sites = run.field("PGA").sites()
sites.sort_values("site_term").iloc[[0, 1, -2, -1]]

# %% [markdown]
# ## Where next
#
# - Which estimator when, and what is in the standard error: [site
#   amplification](../site_amplification.md).
# - On the command line: `tfgmm site-amp runs/ground --no-site none --events role:all`.
# - Amplification against period needs a run of several measures: `tfgmm train --im all`, then `tfgmm
#   site-amp --at LON,LAT,NAME`.
