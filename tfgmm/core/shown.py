"""Objects that say in one line what they are, and show a small table in a notebook."""

import abc
import html
from collections.abc import Mapping


class Shown(abc.ABC):
    """Base class of public objects: `repr` is one line, a notebook shows the same facts as a table."""

    @abc.abstractmethod
    def _facts(self) -> Mapping[str, object]:
        """Return what the object is, in a few words by heading."""

    def __repr__(self) -> str:
        """Return one line with all facts."""
        facts = "; ".join(f"{name} {value}" for name, value in self._facts().items())
        return f"<{type(self).__name__}: {facts}>"

    def _repr_html_(self) -> str:
        """Return the facts as a table, for notebooks."""
        rows = "".join(
            f'<tr><th style="text-align: left">{html.escape(name)}</th>'
            f'<td style="text-align: left">{html.escape(str(value))}</td></tr>'
            for name, value in self._facts().items()
        )
        return f"<table><caption>{html.escape(type(self).__name__)}</caption>{rows}</table>"
