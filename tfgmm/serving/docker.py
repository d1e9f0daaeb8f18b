"""The command that runs TensorFlow Serving itself, for machines with docker."""

import shlex
from pathlib import Path

from tfgmm.core.arguments import checked
from tfgmm.core.errors import UsageError

#: Ports of TensorFlow Serving.
REST_PORT, GRPC_PORT = 8501, 8500


@checked
def docker_command(
    model: str | Path, *, host: str = "127.0.0.1", rest_port: int = REST_PORT, grpc_port: int = GRPC_PORT
) -> str:
    """Return the docker command that runs TensorFlow Serving itself for an exported model.

    Parameters
    ----------
    model : path
        Folder of the model, which holds the version folders.
    host : str
        Address to listen on.
    rest_port, grpc_port : int
        Ports of the REST and the gRPC interface.

    Returns
    -------
    str
        The command, quoted for a shell.

    Raises
    ------
    UsageError
        A port is none.

    Examples
    --------
    >>> print(docker_command("saved_models/kanto"))  # doctest: +SKIP
    """
    for port in (rest_port, grpc_port):
        if not 0 < port < 65536:
            raise UsageError(f"{port} is no port: choose a number from 1 to 65535")
    source = Path(model).resolve()
    ports = (f"{host}:{rest_port}:{REST_PORT}", f"{host}:{grpc_port}:{GRPC_PORT}")
    return shlex.join(
        [
            *("docker", "run", "--rm", "-p", ports[0], "-p", ports[1]),
            *("--mount", f"type=bind,source={source},target=/models/{source.name},readonly"),
            *("-e", f"MODEL_NAME={source.name}", "tensorflow/serving"),
        ]
    )
