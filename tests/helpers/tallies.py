"""What a dataset says was read and dropped."""

from tfgmm.data.dataset import Dataset


def dropped(dataset: Dataset) -> dict:
    """Count by what and why."""
    return {(entry["what"], entry["reason"]): entry["count"] for entry in dataset.provenance["dropped"]}


def assert_nothing_lost(dataset: Dataset) -> None:
    """Of events, stations and records: what was read is kept, or counted as dropped."""
    for what in ("event", "station", "record"):
        lost = sum(entry["count"] for entry in dataset.provenance["dropped"] if entry["what"] == what)
        assert dataset.provenance["read"][what] == len(getattr(dataset, f"{what}s")) + lost
