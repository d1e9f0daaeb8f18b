"""A finished run -> tables and figures."""

import errno

import pandas as pd
import pytest
from prediction_tables import predictions

from tfgmm.analysis import baselines, evaluation, figures, scores
from tfgmm.errors import DataError, UsageError
from tfgmm.run_folder import RunFolder

fit = baselines.ergodic.fit
fitted = {}


@pytest.fixture(autouse=True)
def fitted_once(monkeypatch):
    """The same folds come in test after test: their regressions are remembered."""

    def remember(records: pd.DataFrame):
        key = (len(records), records["ln_im"].sum())
        if key not in fitted:
            fitted[key] = fit(records)
        return fitted[key]

    monkeypatch.setattr(baselines.ergodic, "fit", remember)


@pytest.fixture
def finished(tmp_path, tiny, small):
    """Make a run whose predictions are given."""

    def make(table: pd.DataFrame, simulated: bool = True):
        small.provenance["simulated"] = simulated
        run = RunFolder.begin(tmp_path / "run", tiny, small)
        table.to_parquet(run.predictions)
        return run.path

    return make


@pytest.fixture
def no_figures(monkeypatch):
    """Drawing takes the longest and is not what most tests are about."""
    monkeypatch.setattr(figures, "four_cells", lambda *args: None)
    monkeypatch.setattr(figures, "save", lambda figure, path: None)


@pytest.mark.parametrize("simulated", [True, False])
def test_table_on_disk_is_that_of_the_scores_with_the_simulated_flag(finished, no_figures, simulated):
    table = predictions()
    path = finished(table, simulated)
    result = evaluation.evaluate(path)
    written = pd.read_csv(path / "tables" / "four_way.csv")
    assert (written["simulated"] == simulated).all()
    pd.testing.assert_frame_equal(written, result.four_way, check_dtype=False)
    everything = pd.concat([scores.partial_ensembles(table), baselines.ergodic_predictions(table)])
    pd.testing.assert_frame_equal(written.drop(columns="simulated"), scores.four_way(everything, "kik"))


def test_every_cell_has_the_three_models_on_the_same_records(finished, no_figures):
    table = evaluation.evaluate(finished(predictions())).four_way
    models = [scores.ENSEMBLE, baselines.ERGODIC, baselines.ERGODIC_SITES]
    for _, cell in table.groupby("cell"):
        assert cell["model"].tolist() == models
        assert cell["records"].nunique() == 1
    held_out = table[table["cell"].str.startswith("validation /")].set_index(["cell", "model"])["rmse"]
    for cell in held_out.index.unique(0):
        assert held_out[cell, baselines.ERGODIC] == held_out[cell, baselines.ERGODIC_SITES]


@pytest.mark.parametrize(
    ("simulated", "title"), [(True, "PGA, kik, meso (simulated records)"), (False, "PGA, kik, meso")]
)
def test_a_figure_for_every_measure_says_if_records_are_simulated(finished, monkeypatch, simulated, title):
    saved = {}
    monkeypatch.setattr(figures, "save", lambda figure, path: saved.update({path: figure}))
    path = finished(predictions(ims=("PGA", "SA(1.0)")), simulated)
    evaluation.evaluate(path)
    figure = saved[path / "figures" / "standardised_residuals_PGA"]
    assert set(saved) == {path / "figures" / f"standardised_residuals_{im}" for im in ("PGA", "SA(1.0)")}
    assert figure.get_suptitle() == title
    figures.plt.close("all")


def test_files_of_measures_do_not_overwrite_each_other(finished, monkeypatch):
    monkeypatch.setattr(figures, "four_cells", lambda *args: figures.plt.figure())
    monkeypatch.setattr(figures.plt.Figure, "savefig", lambda self, path, **options: path.touch())
    path = finished(predictions(ims=("SA(1.0)", "SA(1.5)")))
    evaluation.evaluate(path)
    evaluation.evaluate(path)  # a second time replaces them
    assert sorted(p.name for p in (path / "figures").iterdir()) == [
        "standardised_residuals_SA(1.0).pdf",
        "standardised_residuals_SA(1.0).png",
        "standardised_residuals_SA(1.5).pdf",
        "standardised_residuals_SA(1.5).png",
    ]


def test_printable_table_has_a_line_a_cell_and_a_line_a_model_below(finished, no_figures):
    result = evaluation.evaluate(finished(predictions(ims=("PGA", "SA(1.0)"))))
    printable = dict(result.printable())
    assert list(printable) == ["PGA", "SA(1.0)"]
    table = printable["PGA"].set_index("sites / events")
    models = [f"  {name}" for name in (scores.ENSEMBLE, baselines.ERGODIC, baselines.ERGODIC_SITES)]
    assert list(table.index[:5]) == ["training / training", *models, "training / validation"]
    assert (table.loc["training / training"] == "").all()
    scored = result.four_way.iloc[0]
    assert table.iloc[1].to_dict() == {
        "RMSE (chunks)": f"{scored['rmse']:.3f} ± {scored['rmse_std']:.3f}",
        "pooled": f"{scored['rmse_pooled']:.3f}",
        "bias": f"{scored['bias']:+.3f}",
        "z mean": f"{scored['z_mean']:+.2f}",
        "z std": f"{scored['z_std']:.2f}",
        "records": f"{scored['records']:,}",
    }


def test_one_chunk_alone_prints_no_nan(finished, no_figures):
    one = predictions()
    result = evaluation.evaluate(finished(one[one["chunk"] == 0]))
    ((_, table),) = result.printable()
    assert table["RMSE (chunks)"].str.fullmatch(r"|\d\.\d{3}").all()
    assert not table.apply(lambda column: column.str.contains("nan")).any(axis=None)


def test_unfinished_run_and_no_run(tmp_path, tiny, small):
    run = RunFolder.begin(tmp_path / "run", tiny, small)
    with pytest.raises(UsageError, match="no predictions yet"):
        evaluation.evaluate(run.path)
    with pytest.raises(UsageError, match="is no run folder"):
        evaluation.evaluate(tmp_path)
    assert not (run.path / "tables").exists()


@pytest.mark.parametrize("method", ["pandas.DataFrame.to_csv", "matplotlib.figure.Figure.savefig"])
def test_full_disk(finished, monkeypatch, method):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = finished(predictions())
    monkeypatch.setattr(method, full)
    with pytest.raises(DataError, match=r"cannot write .*: No space left on device"):
        evaluation.evaluate(path)
    assert not [p for p in path.rglob(".*")]
    figures.plt.close("all")
