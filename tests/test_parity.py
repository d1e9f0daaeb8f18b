"""An ensemble and a client of its exported model: the same verbs, arguments, names and numbers."""

import inspect

import numpy as np
import pandas as pd
import pytest

import tfgmm
from tfgmm.serving.models import Models
from tfgmm.serving.server import Server, running

EVENTS = pd.DataFrame(
    {"longitude": [139.8, 140.1], "latitude": 35.7, "depth_km": 30.0, "magnitude": [5.5, 6.5]}
)
SITES = pd.DataFrame({"site_id": ["A", "B"], "longitude": [139.9, 150.0], "latitude": [35.8, 35.0]})
#: Verbs with their arguments; and what a server does not know, of arguments and of results.
VERBS = {"maps": [EVENTS], "at_sites": [EVENTS, SITES], "at_stations": [EVENTS, ["K03", "K01"]]}
ONLY_ARGUMENTS = {"interpolation", "calibrated", "known"}
ONLY_RESULTS = {"r_hyp_km", "outside_magnitude", "outside_depth", "outside_distance"}


def public(owner: type) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_") and callable(getattr(owner, name))}


def test_the_verbs_and_their_arguments_are_the_same():
    assert public(tfgmm.Client) - public(tfgmm.Ensemble) == {"predict"}  # one request as it is
    assert public(tfgmm.Client) & public(tfgmm.Ensemble) == {*VERBS}
    for verb in VERBS:
        local, asked = (
            inspect.signature(getattr(one, verb)).parameters for one in (tfgmm.Ensemble, tfgmm.Client)
        )
        assert [name for name in local if name not in ONLY_ARGUMENTS] == [*asked]
        assert all(local[name].kind == asked[name].kind for name in asked)


@pytest.mark.slow
def test_the_results_are_the_same(untrained_root):
    root = untrained_root(True)
    ensemble = tfgmm.open_run(root / "run").ensemble()
    with running(Server(Models([root / "tiny"]), rest_port=0, grpc_port=0)) as server:
        client = tfgmm.Client(server.addresses[0])
        for verb, arguments in VERBS.items():
            done = [], []
            local = getattr(ensemble, verb)(*arguments, progress=done[0].append)
            asked = getattr(client, verb)(*arguments, progress=done[1].append)
            assert {*local.data_vars} - {*asked.data_vars} == ONLY_RESULTS
            assert {*asked.data_vars} <= {*local.data_vars} and {"median_g", "support"} <= {
                *asked.data_vars
            }
            assert done[0][-1] == done[1][-1] == len(EVENTS)
            for name in asked.data_vars:
                assert asked[name].dims == local[name].dims
                np.testing.assert_allclose(asked[name], local[name], rtol=2e-3, atol=1e-3, err_msg=name)
            if verb != "maps":
                assert asked["site_id"].to_numpy().tolist() == local["site_id"].to_numpy().tolist()
                tables = tfgmm.table(asked), tfgmm.table(local)
                assert [*tables[0]] == [name for name in tables[1] if name in tables[0]]
                assert len(tables[0]) == len(tables[1]) == 4
    with pytest.raises(tfgmm.UsageError, match="maps are no table"):
        tfgmm.table(ensemble.maps(EVENTS))
