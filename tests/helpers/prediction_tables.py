"""Tables of predictions, made without training anything."""

import numpy as np
import pandas as pd

TAU, PHI_S2S, PHI_SS = 0.3, 0.5, 0.4
ROLES = np.array(["training", "training", "validation", "stopping"])


def predictions(
    n_events: int = 40, n_sites: int = 24, chunks: int = 2, inits: int = 2, ims=("PGA",), seed=0
):
    """A run's predictions table, of records with event, site and remaining terms.

    The last third of the sites is the added network ``meso``, whose stations train in every chunk.
    """
    rng = np.random.default_rng(seed)
    event, site = (index.ravel() for index in np.indices((n_events, n_sites)))
    event_role = ROLES[np.arange(n_events) % 4]
    added = np.arange(n_sites) >= n_sites * 2 // 3
    r_hyp = np.exp(rng.uniform(np.log(15), np.log(250), len(event)))
    magnitude = rng.uniform(4.5, 7, n_events)[event]
    depth = rng.uniform(5, 80, n_events)[event]
    x_km, y_km = np.random.default_rng(seed).uniform(-90, 90, (2, n_sites))
    event_x_km, event_y_km = np.random.default_rng([seed, 1]).uniform(-90, 90, (2, n_events))
    records = pd.DataFrame(
        {
            "event_id": np.char.add("E", event.astype(str)).tolist(),
            "station_id": np.char.add("S", site.astype(str)).tolist(),
            "site_id": np.char.add("S", site.astype(str)).tolist(),
            "network": np.where(added[site], "meso", "kik").tolist(),
            "magnitude": magnitude,
            "depth_km": depth,
            "event_x_km": event_x_km[event],
            "event_y_km": event_y_km[event],
            "r_hyp_km": r_hyp,
            "x_km": x_km[site],
            "y_km": y_km[site],
            "nearest_added_km": rng.uniform(0.2, 5, n_sites)[site],
            "event_role": event_role[event].tolist(),
        }
    )
    parts = []
    for im in ims:
        terms = TAU * rng.normal(size=n_events)[event] + PHI_S2S * rng.normal(size=n_sites)[site]
        median = -1.0 + 1.1 * (magnitude - 6) - 1.3 * np.log(r_hyp) - 0.002 * r_hyp + 0.005 * depth
        observed = records.assign(ln_im=median + terms + PHI_SS * rng.normal(size=len(event)), im=im)
        for chunk in range(chunks):
            held = (np.arange(n_sites) % chunks == chunk) & ~added
            stopping = (np.arange(n_sites) % (4 * chunks) == (chunk + 1) % chunks) & ~added & ~held
            role = np.select([held, stopping], ["validation", "stopping"], "training")[site]
            for init in range(inits):
                parts.append(
                    observed.assign(
                        site_role=role.tolist(),
                        arm="all",
                        chunk=chunk,
                        init=init,
                        backbone=0.0,
                        mean=(median + rng.normal(0, 0.1, len(event))).astype("float32"),
                        stddev=rng.uniform(0.4, 0.8, len(event)).astype("float32"),
                    )
                )
    return pd.concat(parts, ignore_index=True)
