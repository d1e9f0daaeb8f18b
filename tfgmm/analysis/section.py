"""An answer to what a reviewer asks of a run: a table, a figure, and text to read them by."""

import dataclasses
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

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


def interval(table: pd.DataFrame, digits: int = 3) -> pd.Series:
    """Values with their intervals, as text."""
    number = f"{{:.{digits}f}}".format
    return table.apply(
        lambda row: (
            number(row["value"])
            if np.isnan(row["low"])
            else f"{number(row['value'])} [{number(row['low'])}, {number(row['high'])}]"
        ),
        axis=1,
    )


def wide(table: pd.DataFrame, index: list[str], statistics: list[str]) -> pd.DataFrame:
    """A column a statistic, values with intervals, in the order of the rows."""
    chosen = table[table["statistic"].isin(statistics)]
    text = chosen.assign(text=interval(chosen))
    order = text[index].drop_duplicates()
    across = text.pivot(index=index, columns="statistic", values="text")[statistics].reset_index()
    return order.merge(across, on=index)
