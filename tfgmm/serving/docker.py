"""The command that runs TensorFlow Serving itself, for machines with docker."""

import shlex
from pathlib import Path

from tfgmm.core.errors import UsageError

#: Ports of TensorFlow Serving.
REST_PORT, GRPC_PORT = 8501, 8500


def docker_command(model: Path, host: str, rest_port: int, grpc_port: int) -> str:
    """Return the docker command that runs TensorFlow Serving itself for an exported model.

    Parameters
    ----------
    model : Path
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
    """
    for port in (rest_port, grpc_port):
        if not 0 < port < 65536:
            raise UsageError(f"{port} is no port: choose a number from 1 to 65535")
    source = model.resolve()
    ports = (f"{host}:{rest_port}:{REST_PORT}", f"{host}:{grpc_port}:{GRPC_PORT}")
    return shlex.join(
        [
            *("docker", "run", "--rm", "-p", ports[0], "-p", ports[1]),
            *("--mount", f"type=bind,source={source},target=/models/{source.name},readonly"),
            *("-e", f"MODEL_NAME={source.name}", "tensorflow/serving"),
        ]
    )
