"""The health checks of gRPC, ``grpc.health.v1.Health``: those of load balancers and container managers."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tfgmm.serving import messages
from tfgmm.serving.refusal import RefusedError

#: Its name.
SERVICE = "grpc.health.v1.Health"
_SERVING, _SERVICE_UNKNOWN = 1, 3


def _types() -> tuple[type, type]:
    """Return the messages of the standard, ``HealthCheckRequest`` and ``HealthCheckResponse``.

    In a pool of their own, which ``grpcio-health-checking`` of a user does not meet.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="health.proto", package="grpc.health.v1", syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, field, kind in (
        ("HealthCheckRequest", "service", kinds.TYPE_STRING),
        ("HealthCheckResponse", "status", kinds.TYPE_INT32),  # as an enum on the wire
    ):
        message = file.message_type.add(name=name)
        message.field.add(name=field, number=1, type=kind, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return tuple(
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{message.name}"))
        for message in file.message_type
    )


_REQUEST, _RESPONSE = _types()


def add(server: grpc.aio.Server, services: Iterable[str], stopping: asyncio.Event) -> None:
    """Let a server tell that it and its services are well.

    Parameters
    ----------
    server : grpc.aio.Server
    services : iterable of str
        Their full names.
    stopping : asyncio.Event
        Set when the server stops: those who watch are let go.
    """
    known = {"", SERVICE, *services}

    async def service(content: bytes, context: grpc.aio.ServicerContext) -> str:
        try:
            return messages.parsed(_REQUEST, content).service
        except RefusedError as error:
            await context.abort(grpc.StatusCode[error.reason.grpc], str(error))

    async def check(content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        name = await service(content, context)
        if name not in known:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {name[:50]!r} is here")
        return _RESPONSE(status=_SERVING).SerializeToString()

    async def watch(content: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        name = await service(content, context)
        yield _RESPONSE(status=_SERVING if name in known else _SERVICE_UNKNOWN).SerializeToString()
        await stopping.wait()

    methods = {
        "Check": grpc.unary_unary_rpc_method_handler(check),
        "Watch": grpc.unary_stream_rpc_method_handler(watch),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, methods)])
