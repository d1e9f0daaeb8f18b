"""An answer to what a reviewer asks of a run: a table, a figure, and text to read them by."""

import dataclasses
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tfgmm.stats import bootstrap

#: The cell that matters most: sites and events that no network has seen.
HELD_OUT = "validation / validation"


@dataclasses.dataclass(frozen=True)
class Section:
    """An answer.

    Attributes
    ----------
    name : str
        Of its files: ``tables/NAME.csv``, ``figures/NAME.png``.
    title, text : str
        The question, and what one must know to read the answer.
    table : pandas.DataFrame or None
        Every number.
    shown : pandas.DataFrame or None
        The numbers that people read, as text.
    draw : callable or None
        Makes the figure.
    """

    name: str
    title: str
    text: str
    table: pd.DataFrame | None = None
    shown: pd.DataFrame | None = None
    draw: Callable[[], plt.Figure] | None = None

    def __post_init__(self) -> None:
        if self.shown is not None and has_narrow(self.shown):
            object.__setattr__(self, "text", f"{self.text} {NARROW_NOTE}")


#: Stands behind an interval from few events or sites; `NARROW_NOTE` says what it means.
NARROW_MARK = "*"
NARROW_NOTE = f"{NARROW_MARK} Too narrow: from fewer than {bootstrap.FEW_CLUSTERS} events or sites."


def interval(table: pd.DataFrame, digits: int = 3) -> pd.Series:
    """Write values with their intervals as text, those from few events or sites with a mark."""
    number = f"{{:.{digits}f}}".format
    narrow = {"events", "sites"} <= {*table} and bootstrap.is_narrow(table)
    return table.assign(mark=np.where(narrow, NARROW_MARK, "")).apply(
        lambda row: (
            number(row["value"])
            if np.isnan(row["low"])
            else f"{number(row['value'])} [{number(row['low'])}, {number(row['high'])}]{row['mark']}"
        ),
        axis=1,
    )


def has_narrow(shown: pd.DataFrame) -> bool:
    """Return whether an interval among texts bears the mark of few events or sites."""
    texts = shown.select_dtypes(exclude="number").astype(str)
    return bool(texts.apply(lambda column: column.str.endswith("]" + NARROW_MARK)).any(axis=None))


def wide(table: pd.DataFrame, index: list[str], statistics: list[str]) -> pd.DataFrame:
    """A column a statistic, values with intervals, in the order of the rows."""
    chosen = table[table["statistic"].isin(statistics)]
    text = chosen.assign(text=interval(chosen))
    order = text[index].drop_duplicates()
    across = text.pivot(index=index, columns="statistic", values="text")[statistics].reset_index()
    return order.merge(across, on=index)
