"""kserve's model server with an address to listen on, honest readiness and bounds."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve import Model, ModelServer
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady
from kserve.logging import configure_logging, logger, trace_logger
from kserve.model_server import app
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer

from etchline.errors import EtchlineError, SettingsError
from serving.errors import Unavailable
from serving.grpc_guard import BoundedMessages, GuardedServicer
from serving.guard import RequestGuard
from serving.settings import ListenSettings

ABOUT = "/about"
GRACE_S = 10
"""Seconds that requests in work may take to end after SIGTERM or Ctrl-C."""
_STATUS: dict[type[Exception], int] = {
    InvalidInput: 400,
    ModelNotFound: 404,
    Unavailable: 503,
    ModelNotReady: 503,
    ServerNotReady: 503,
}


class ReadyDataPlane(DataPlane):  # type: ignore[misc]  # kserve is untyped
    """The server is ready when all its models are; kserve's own says so from the first second."""

    async def ready(self) -> bool:
        """Whether all models are ready."""
        names = list(self.model_registry.get_models())
        return all([await self.model_registry.is_model_ready(name) for name in names])


class FixedModels(ModelRepositoryExtension):  # type: ignore[misc]  # kserve is untyped
    """Refuses to load or unload: whoever reaches the port could switch the service off."""

    async def load(self, model_name: str) -> None:
        """Refuses."""
        raise InvalidInput(f"{model_name}: models are fixed; start the service with another bundle")

    async def unload(self, model_name: str) -> None:
        """Refuses."""
        raise InvalidInput(f"{model_name}: models are fixed; stop the service to end it")


class _RestServer(RESTServer):  # type: ignore[misc]  # kserve is untyped
    """kserve's, with one log line for an expected error instead of a traceback."""

    async def serve_at(self, listening: socket.socket) -> None:
        """Serves until a signal ends it: uvicorn itself would exit where it cannot have its port."""
        self.create_application()
        await self._server.serve(sockets=[listening])

    def _add_exception_handlers(self, app: FastAPI) -> None:
        super()._add_exception_handlers(app)
        for kind in _STATUS:
            app.add_exception_handler(kind, _answer_expected)
        # The guard has found nothing wrong, but kserve's data classes have: still the client's mistake.
        app.add_exception_handler(RequestValidationError, _answer_invalid)


class GuardedServer(ModelServer):  # type: ignore[misc]  # kserve is untyped
    """Serves models over REST and gRPC until SIGINT or SIGTERM.

    Args:
        listen: address, ports and limits.
        on_refusal: is told the status, as of REST, of each request that is refused before a model sees it.
        facts: what `GET /about` tells; JSON.
    """

    def __init__(
        self, listen: ListenSettings, on_refusal: Callable[[int], None], facts: Mapping[str, Any]
    ) -> None:
        super().__init__(
            http_port=listen.http_port,
            grpc_port=listen.grpc_port,
            workers=1,
            enable_latency_logging=False,
            grace_period=GRACE_S,
        )
        trace_logger.setLevel(logging.WARNING)  # else two lines for each request
        self._listen = listen
        self._on_refusal = on_refusal
        self.dataplane = ReadyDataPlane(model_registry=self.registered_models)
        self.model_repository_extension = FixedModels(model_registry=self.registered_models)
        app.add_api_route(ABOUT, lambda: facts, methods=["GET"])
        app.add_middleware(RequestGuard, max_bytes=listen.max_bytes, on_refusal=on_refusal)

    def serve(self, models: list[Model]) -> None:
        """Serves the models, ready or not, until a signal ends it; then requests in work are finished.

        Raises:
            SettingsError: a port is in use, or there is no such address.
        """
        for model in models:
            self.register_model(model)
        asyncio.run(self._serve_both())

    async def _serve_both(self) -> None:
        rest = _RestServer(
            "kserve.model_server:app",
            self.dataplane,
            self.model_repository_extension,
            self._listen.http_port,
            grace_period=GRACE_S,
            timeout_keep_alive=self.timeout_keep_alive,
        )
        with self._http_socket() as listening:
            over_grpc = self._grpc()
            await over_grpc.start()
            # uvicorn ends at the first signal, then raises it again for the handler that was there before.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: None)
            try:
                await rest.serve_at(listening)
            finally:
                await over_grpc.stop(GRACE_S)

    def _http_socket(self) -> socket.socket:
        host, port = self._listen.host, self._listen.http_port
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
        except OSError as error:
            listening.close()
            raise SettingsError(
                f"--http-port {port} at {host}: {error.strerror or error}; choose another port or host"
            ) from error
        return listening

    def _grpc(self) -> grpc.aio.Server:
        """Kserve's service on our address: its own server listens everywhere and shares its port."""
        server = grpc.aio.server(
            interceptors=(ExceptionToStatusInterceptor(), BoundedMessages(self._on_refusal)),
            options=[
                ("grpc.max_receive_message_length", self._listen.max_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )
        servicer = GuardedServicer(self.dataplane, self.model_repository_extension, self._on_refusal)
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        host = f"[{self._listen.host}]" if ":" in self._listen.host else self._listen.host
        try:
            server.add_insecure_port(f"{host}:{self._listen.grpc_port}")
        except RuntimeError as error:  # gRPC has no other for it
            raise SettingsError(
                f"--grpc-port {self._listen.grpc_port} at {self._listen.host}: another program may have "
                "it; choose another port or host"
            ) from error
        return server


def exit_code_of(serve: Callable[[], None]) -> int:
    """Serves until it is told to end; the exit code of the process, its error on stderr."""
    configure_logging()
    try:
        serve()
    except EtchlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


async def _answer_expected(request: Request, error: Exception) -> JSONResponse:
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    logger.info("%s %s: %d: %s", request.method, request.url.path, status, error)
    headers = {"retry-after": "1"} if status == 503 else None
    return JSONResponse(status_code=status, content={"error": str(error)}, headers=headers)


async def _answer_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")[:80]
    return JSONResponse(status_code=400, content={"error": f"{where}: {first['msg']}"})
