"""The description of a run and its presets."""

from datetime import UTC, date, datetime

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import TINY
from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.runs import experiment
from tfgmm.runs.experiment import Experiment, Split, preset

KIK = {"networks": ("kik", "meso"), "reference": "kik"}


# --- presets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "pixel_km", "sizes", "network", "members"),
    [
        ("quick", 2.0, (188, 100), (3, 8), (5, 1)),
        ("standard", 2.0, (188, 100), (3, 16), (5, 2)),
        ("paper", 0.5, (572, 388), (4, 64), (5, 10)),
    ],
)
def test_presets(name, pixel_km, sizes, network, members):
    chosen = preset(name, **KIK)
    assert chosen.preset == name
    assert chosen.grid.pixel_km == pixel_km
    assert (chosen.grid.input_size, chosen.grid.output_size) == sizes
    assert (chosen.network.depth, chosen.network.base) == network
    assert (chosen.chunks, chosen.inits) == members


def test_limits_of_the_presets():
    quick, standard, paper = (preset(name, **KIK).training for name in experiment.PRESETS)
    assert quick.max_events <= 300 and quick.epochs < standard.epochs <= 20
    assert standard.max_events is None
    assert (standard.shift_pixels, paper.shift_pixels) == (3, 0)


def test_the_field_goes_with_a_backbone():
    chosen = {name: preset(name, **KIK) for name in experiment.PRESETS}
    assert {name for name, one in chosen.items() if one.field} == {"quick", "standard"}
    assert chosen["standard"].stopping == "blocks"
    assert not preset("standard", **KIK, backbone="none").field
    assert not preset("standard", **KIK, field="no").field
    with pytest.raises(UsageError, match="--backbone none has none: give --field no"):
        preset("standard", **KIK, backbone="none", field="yes")


@pytest.mark.parametrize(("steps", "epochs"), [(184, 20), (200, 20), (628, 6), (5000, 1)])
def test_epochs_end_with_the_steps(steps, epochs):
    assert preset("standard", networks=("kik",), reference="kik").training.epochs_of(steps) == epochs
    assert preset("paper", networks=("kik",), reference="kik").training.epochs_of(steps) == 100


def test_changes_reach_single_fields_and_none_leaves_the_preset():
    chosen = preset(
        "paper",
        **KIK,
        chunks=None,
        inits=3,
        grid={"pixel_km": 1.0, "latitude": None},
        network={"base": 8, "precision": "float32"},
        training={"epochs": None, "patience": 2},
    )
    plain = preset("paper", **KIK)
    assert (chosen.chunks, chosen.inits) == (5, 3)
    assert chosen.grid == plain.grid.model_copy(update={"pixel_km": 1.0})
    assert chosen.network == plain.network.model_copy(update={"base": 8, "precision": "float32"})
    assert chosen.training == plain.training.model_copy(update={"patience": 2})


def test_output_size_follows_input_size_and_depth():
    chosen = preset("standard", **KIK, grid={"input_size": 100}, network={"depth": 2})
    assert chosen.grid.output_size == 60


def test_precision_is_left_to_the_device_unless_given():
    assert preset("quick", **KIK).network.precision == "auto"
    assert preset("quick", **KIK, network={"precision": "float32"}).network.precision == "float32"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networks": ("meso",)}, "reference network kik is not among the networks meso: add it"),
        ({"chunks": 1}, "chunks: .*greater than or equal to 2"),
        ({"training": {"epochs": 0}}, "training.epochs: .*greater than or equal to 1"),
        ({"training": {"weighting": "log"}}, "training.weighting: .*'record', 'event' or 'correlated'"),
        ({"training": {"epoch": 3}}, "training.epoch: Extra inputs"),
        ({"network": {"precision": "float8"}}, "precision: .*'float32', 'bfloat16' or 'float16'"),
        ({"stopping": "never"}, "stopping: .*'sites', 'blocks' or 'paper'"),
        ({"grid": {"crs": "EPSG:4326"}}, "crs: EPSG:4326 is not metric"),
        ({"grid": {"input_size": 190}}, "input size 190 .*depth 3; .* 188 and 196"),
        ({"ims": ("PGD",)}, "unknown intensity measure 'PGD'"),
        ({"chunk": 3}, "chunk: Extra inputs"),
    ],
)
def test_settings_that_do_not_fit_together(changes, message):
    with pytest.raises(UsageError, match=message) as error:
        preset("standard", **KIK | changes)
    assert "\n" not in str(error.value)


def test_unknown_preset():
    with pytest.raises(UsageError, match="unknown preset 'fast': choose one of quick, standard, paper"):
        preset("fast", **KIK)


# --- experiment --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", experiment.PRESETS)
@pytest.mark.parametrize("split", ["time:2016-01-01,2017-01-01", "random-events:0.3", "magnitude:5.5"])
def test_json_round_trip(name, split):
    chosen = preset(name, **KIK, ims=("PGA", "SA(1.0)"), drop=("site",), split=Split.parse(split))
    assert Experiment.model_validate_json(chosen.model_dump_json()) == chosen
    assert Experiment(**chosen.model_dump(mode="json")) == chosen


def test_frozen(tiny):
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        tiny.seed = 2


def test_measures_have_one_spelling_and_come_once():
    assert Experiment(**TINY, ims=("sa(1)", "PGA", "SA(1.0)")).ims == ("SA(1.0)", "PGA")


def test_grid_must_fit_the_network():
    with pytest.raises(UsageError, match="depth 2 turns 68 pixels into 28, not 30"):
        Experiment(**TINY | {"grid": Grid(input_size=68, output_size=30)})


def test_arm_names_what_is_dropped_in_any_order():
    assert Experiment(**TINY).arm == "all"
    assert Experiment(**TINY, drop=("vs30", "path")).arm == "drop-path-vs30"
    assert Experiment(**TINY, drop=("path", "vs30")).arm == "drop-path-vs30"


def test_member_seeds_differ_between_members_and_agree_between_arms():
    one, two = Experiment(**TINY), Experiment(**TINY, drop=("site",))
    members = [(chunk, init) for chunk in range(5) for init in range(10)]
    seeds = [one.member_seed(*member) for member in members]
    assert len(set(seeds)) == 50
    assert seeds == [two.member_seed(*member) for member in members]
    assert seeds[0] != Experiment(**TINY, seed=2).member_seed(0, 0)


# --- split -------------------------------------------------------------------------------------------

DATES = st.dates(date(1990, 1, 1), date(2030, 1, 1))


@given(DATES, DATES)
def test_time_split_is_parsed_if_it_is_in_order(start, end):
    text = f"time:{start},{end}"
    if start < end:
        split = Split.parse(text)
        assert (split.kind, split.start, split.end) == ("time", start, end)
    else:
        with pytest.raises(UsageError, match="validation window is empty"):
            Split.parse(text)


def test_window_is_in_utc():
    window = Split.parse("time:2015-01-01,2018-04-01").window()
    assert window == (datetime(2015, 1, 1, tzinfo=UTC), datetime(2018, 4, 1, tzinfo=UTC))


def test_random_split_is_parsed():
    split = Split.parse("random-events:0.25")
    assert (split.kind, split.fraction) == ("random-events", 0.25)


@given(st.floats(-1, 10, exclude_min=True, exclude_max=True))
def test_split_by_magnitude_is_parsed(magnitude):
    split = Split.parse(f"magnitude:{magnitude}")
    assert (split.kind, split.min_magnitude) == ("magnitude", magnitude)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time:2015-01-01,2018-01-01", "from 2015-01-01 to 2018-01-01 (excluded)"),
        ("random-events:0.25", "25 % of all, at random"),
        ("magnitude:6.0", "magnitude 6 and above, of all times: none trains"),
    ],
)
def test_split_says_which_events_validate(text, words):
    assert Split.parse(text).description == words


@pytest.mark.parametrize(
    "text",
    [
        "", "time", "time:", "time:2015-01-01", "time:2015-01-01,2016-01-01,2017-01-01",
        "time:2015,2016-13-01", "random-events:", "random-events:0", "random-events:1",
        "random-events:x", "events:0.2", "magnitude:", "magnitude:nan", "magnitude:inf", "magnitude:11",
        "magnitude:6,7",
    ],
)  # fmt: skip
def test_split_that_makes_no_sense(text):
    with pytest.raises(
        UsageError, match=r"--split .*write time:FROM,TO \(dates\), random-events:FRACTION or magnitude:M"
    ) as error:
        Split.parse(text)
    assert "\n" not in str(error.value)
    assert "unpack" not in str(error.value)


def test_default_split_is_that_of_the_design():
    assert Split() == Split.parse("time:2015-01-01,2018-01-01")


def test_arms_without_site_channels_differ_in_nothing_else(tiny):
    published, isotropic = tiny.without_site(), tiny.without_site(isotropic=True)
    assert (tiny.arm, published.arm, isotropic.arm) == ("all", "drop-site", "drop-site-isotropic")
    for arm in (published, isotropic):
        assert arm.drop == ("site",) and arm.member_seed(1, 0) == tiny.member_seed(1, 0)
        same = {"drop": (), "training": arm.training.model_copy(update={"turns": False})}
        assert arm.model_copy(update=same) == tiny
    assert isotropic.training.turns and not published.training.turns
    partly = tiny.model_copy(update={"drop": ("vs30",)})
    assert partly.without_site().arm == "drop-site-vs30"
    with pytest.raises(UsageError, match="without site channels: it has learned no site amplification"):
        published.without_site(isotropic=True)


def test_maps_with_site_channels_cannot_be_turned():
    with pytest.raises(UsageError, match="turned only without the site channels: drop site as well"):
        preset("quick", networks=("kik",), reference="kik", training={"turns": True})
    kept = preset("quick", networks=("kik",), reference="kik", drop=("site",), training={"turns": True})
    assert Experiment(**kept.model_dump(mode="json")) == kept


def test_a_projection_that_is_not_true_to_scale_makes_no_run():
    with pytest.raises(UsageError, match=r"EPSG:3857 has a scale of 1\.2.*choose --crs EPSG:32654"):
        preset("quick", networks=["kik"], reference="kik", grid={"crs": "EPSG:3857"})


def test_the_region_of_published_models(tiny):
    assert tiny.region == "japan"
    assert tiny.model_copy(update={"backbone_region": "california"}).region == "california"
    with pytest.raises(UsageError, match="--backbone-region mars: choose auto, global, japan"):
        _ = tiny.model_copy(update={"backbone_region": "mars"}).region


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("magnitude:nan", "--split magnitude:nan: nan is not a magnitude between -1 and 10; write"),
        ("magnitude:large", "--split magnitude:large: large is not a magnitude between -1 and 10; write"),
        ("random-events:1.5", "--split random-events:1.5: 1.5 is not a share between 0 and 1; write"),
        ("random-events:", "--split random-events:: nothing is not a share between 0 and 1; write"),
    ],
)
def test_what_is_wrong_with_a_split(text, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        Split.parse(text)
