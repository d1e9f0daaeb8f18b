"""One request to a model server, over REST or gRPC: signature and arrays -> arrays."""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from tfgmm.core.errors import DataError, UsageError

_ADDRESS = re.compile(r"(https?|grpc)://([^/]+)/v1/models/([^/:]+)(?:/versions/([0-9]{1,18}))?/?")
_HTTP_AGAIN = (429, 502, 503, 504)


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a model is: ``http`` or ``grpc``, host and port, its name, and perhaps one version."""

    scheme: str
    place: str
    model: str
    version: int | None

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read one.

        Raises
        ------
        UsageError
            It is none.
        """
        match = _ADDRESS.fullmatch(text.strip())
        if not match:
            raise UsageError(
                f"{text} is no address of a model: write http://HOST:PORT/v1/models/NAME or "
                "grpc://HOST:PORT/v1/models/NAME"
            )
        scheme, place, model, version = match.groups()
        return cls(scheme, place, model, int(version) if version else None)

    def __str__(self) -> str:
        version = "" if self.version is None else f"/versions/{self.version}"
        return f"{self.scheme}://{self.place}/v1/models/{self.model}{version}"


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long to wait and how often to ask again when a server is busy, restarts or cuts off.

    Attributes
    ----------
    timeout_s : float
        For one answer.
    retries : int
        0 to 4: gRPC allows no more.
    backoff_s : float
        Before the second retry; each further one waits twice as long.
    """

    timeout_s: float = 60.0
    retries: int = 4
    backoff_s: float = 0.5


#: That of a client that is told none.
PATIENCE = Patience()


class Transport(Protocol):
    """Asks a model."""

    def signatures(self) -> dict[str, list[str]]:
        """Names of the signatures, and of the inputs of each."""

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of a signature by name."""


class Rest:
    """Over HTTP.

    Parameters
    ----------
    address : Address
    patience : Patience
    """

    def __init__(self, address: Address, patience: Patience) -> None:
        self._address, self._patience = address, patience
        again = Retry(
            patience.retries,
            backoff_factor=patience.backoff_s,
            status_forcelist=_HTTP_AGAIN,
            allowed_methods=None,  # to predict changes nothing on the server
            raise_on_status=False,
        )
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=again))

    def signatures(self) -> dict[str, list[str]]:
        """Names of the signatures, and of the inputs of each."""
        found = self._json("GET", f"{self._address}/metadata")
        try:
            known = found["metadata"]["signature_def"]["signature_def"]
            return {name: list(one["inputs"]) for name, one in known.items()}
        except (KeyError, TypeError) as error:
            raise not_a_server(self._address) from error

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of a signature by name."""
        columns = {name: values.tolist() for name, values in inputs.items()}
        asked = json.dumps({"signature_name": signature, "inputs": columns})
        found = self._json("POST", f"{self._address}:predict", asked)
        try:
            return {name: np.array(values) for name, values in found["outputs"].items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise not_a_server(self._address) from error

    def _json(self, method: str, url: str, content: str | None = None) -> dict:
        try:
            answer = self._session.request(method, url, data=content, timeout=self._patience.timeout_s)
        except requests.RequestException as error:
            raise down(self._address, type(error).__name__) from error
        if answer.status_code in _HTTP_AGAIN:  # perhaps from a proxy, which speaks no JSON
            raise down(self._address, answer.text.strip()[:100] or answer.reason)
        try:
            found = answer.json()
        except ValueError as error:
            raise not_a_server(self._address) from error
        if answer.ok:
            return found
        said = found.get("error", answer.reason) if isinstance(found, dict) else answer.reason
        if answer.status_code == requests.codes.not_found:
            raise no_model(self._address, said)
        raise refused(self._address, said)


def down(address: Address, why: str) -> DataError:
    """Nobody answers."""
    return DataError(
        f"no answer from {address.scheme}://{address.place} ({why}): is the server up, is the port right?"
    )


def no_model(address: Address, said: str) -> UsageError:
    """It is another server, or another model."""
    return UsageError(f"{address} is not there: check the model's name and version ({said})")


def refused(address: Address, said: str) -> UsageError:
    """The server does not like the request."""
    return UsageError(f"{address} refused the request: {said}")


def not_a_server(address: Address) -> DataError:
    """What answers speaks another language."""
    return DataError(
        f"{address.scheme}://{address.place} answers, but not as a model server: check the port"
    )
