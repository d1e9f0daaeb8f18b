"""A small model server with the interface of TensorFlow Serving, for machines without docker."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import grpc
import uvicorn

from tfgmm.core.errors import UsageError
from tfgmm.serving import grpc_service, rest
from tfgmm.serving.docker import GRPC_PORT, REST_PORT
from tfgmm.serving.http import punctual
from tfgmm.serving.limits import LIMITS, Limits, Workers
from tfgmm.serving.models import Models

#: Ports of TensorFlow Serving for REST and gRPC.


class Server:
    """Model server with REST and gRPC interfaces in one event loop.

    The server has no passwords and no encryption: anyone who reaches the ports can send requests.

    Parameters
    ----------
    models : Models
        The models to predict with.
    host : str
        Address to listen on; by default only this machine can connect.
    rest_port, grpc_port : int
        Ports of the REST and the gRPC interface; 0 takes any free port.
    limits : Limits
        Limits on requests.
    poll_s : float
        Time between two looks for new versions of models, s.

    Attributes
    ----------
    rest_port, grpc_port : int
        Ports on which the server listens, once it runs.
    """

    def __init__(
        self,
        models: Models,
        *,
        host: str = "127.0.0.1",
        rest_port: int = REST_PORT,
        grpc_port: int = GRPC_PORT,
        limits: Limits = LIMITS,
        poll_s: float = 1.0,
    ) -> None:
        self.models, self.host, self.rest_port, self.grpc_port = models, host, rest_port, grpc_port
        self._limits, self._poll_s = limits, poll_s

    @property
    def addresses(self) -> list[str]:
        """Return the addresses (URLs) of the models for clients, two per model: REST and gRPC."""
        places = (f"http://{self.host}:{self.rest_port}", f"grpc://{self.host}:{self.grpc_port}")
        return [f"{place}/v1/models/{name}" for name in self.models.names for place in places]

    def serve(self, ready: Callable[[], None] = lambda: None) -> None:
        """Run the server until SIGTERM, SIGINT or `stop`, and finish the requests that have begun.

        Parameters
        ----------
        ready : callable
            Called without arguments when both ports are open.

        Raises
        ------
        UsageError
            A port is taken, or the address belongs to another machine.
        """
        asyncio.run(self._serve(ready))

    def stop(self) -> None:
        """Tell the server to stop, from any thread; return at once."""
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve(self, ready: Callable[[], None]) -> None:
        """Run the server in the event loop of this thread until it is told to stop."""
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        workers = Workers(self._limits)
        with _listening(self.host, self.rest_port) as listening, self._signals():
            self.rest_port = listening.getsockname()[1]
            remote = await self._grpc(workers)
            web = _Web(self._web_settings(workers))
            tasks = [asyncio.create_task(task) for task in (web.serve([listening]), self._watch())]
            ready()
            await self._stopping.wait()
            tasks[1].cancel()
            web.should_exit = True
            await asyncio.gather(tasks[0], remote.stop(self._limits.timeout_s))
            workers.close()

    async def _grpc(self, workers: Workers) -> grpc.aio.Server:
        """Return a started gRPC server that listens on the gRPC port."""
        server = grpc_service.server(self.models, workers, self._limits, self._stopping)
        try:
            self.grpc_port = server.add_insecure_port(_place(self.host, self.grpc_port))
        except RuntimeError as error:
            raise _taken(self.host, self.grpc_port, "--grpc-port") from error
        await server.start()
        return server

    def _web_settings(self, workers: Workers) -> uvicorn.Config:
        """Return the settings of the REST server for uvicorn."""
        return uvicorn.Config(
            rest.application(self.models, workers, self._limits),
            http=punctual(self._limits),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            headers=[("server", "tfgmm")],
            timeout_graceful_shutdown=int(self._limits.timeout_s),
        )

    async def _watch(self) -> None:
        """Look for new versions of the models again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._poll_s)
            await asyncio.to_thread(self.models.refresh)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Make SIGTERM and SIGINT stop the server while a block runs, if this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Web(uvicorn.Server):
    """Uvicorn server that leaves SIGTERM and SIGINT to `Server`, so that REST and gRPC stop together."""

    def capture_signals(self) -> contextlib.AbstractContextManager:
        """Return a context manager that captures no signals."""
        return contextlib.nullcontext()


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """Run a server in a separate thread until the block ends, and yield the server once its ports are open.

    Parameters
    ----------
    server : Server
        The server.

    Raises
    ------
    UsageError
        The server could not start.
    """
    ready = threading.Event()
    thread = threading.Thread(target=server.serve, args=[ready.set], daemon=True)
    thread.start()
    while not ready.wait(0.1):
        if not thread.is_alive():
            raise UsageError("the server could not start")
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def _listening(host: str, port: int) -> socket.socket:
    """Return an open socket that listens on a port; raise `UsageError` if the port is not available."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise _taken(host, port, "--rest-port") from error


def _place(host: str, port: int) -> str:
    """Return host and port as one text, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _taken(host: str, port: int, option: str) -> UsageError:
    """Return the error for a port that is not available, which names the command-line option."""
    place = _place(host, port)
    return UsageError(
        f"cannot listen on {place}: it is taken, or of another machine; give another {option}"
    )
