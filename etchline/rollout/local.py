"""Predictor and transformer as two processes on this machine: start, wait until ready, stop.

The processes outlive the program that starts them: `service.json` in the folder of the logs says what runs,
so that another program can ask or stop it.
"""

import contextlib
import http.client
import math
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from etchline import storage
from etchline.bundle import load_bundle
from etchline.errors import OutputError, ServiceError, SettingsError
from etchline.rollout.local_process import LocalProcess, Part, log_end, spawn, stop_all
from etchline.signals import held_signals

STATE = "service.json"
_POLL_S = 0.1
_START_TRIES = 3
_NAMES = ("predictor", "transformer")
_PORTS = ("http_port", "grpc_port", "predictor_http_port", "predictor_grpc_port")
_MOST_READY_S = 24 * 3600.0
_MOST_PORT = 65535


@dataclass(frozen=True)
class LocalSettings:
    """How the service is started.

    Attributes:
        host: address that both listen on.
        http_port: of the transformer's REST; 0 is any free one, here and below.
        grpc_port: of the transformer's gRPC.
        predictor_http_port: of the predictor's REST and metrics.
        predictor_grpc_port: of the predictor's gRPC.
        ready_within_s: the golden patch must come out right within this time.
        predictor_options: further options of `python -m serving.predictor`.
        transformer_options: further options of `python -m serving.transformer`.

    Raises:
        SettingsError: no address, a port that is none, or a time that is none.
    """

    host: str = "127.0.0.1"
    http_port: int = 0
    grpc_port: int = 0
    predictor_http_port: int = 0
    predictor_grpc_port: int = 0
    ready_within_s: float = 120.0
    predictor_options: tuple[str, ...] = ()
    transformer_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.host.strip():
            raise SettingsError("--host: is empty; give an address such as 127.0.0.1")
        for name in _PORTS:
            if not 0 <= getattr(self, name) <= _MOST_PORT:
                option = name.replace("_", "-")
                raise SettingsError(f"--{option} {getattr(self, name)}: must lie in 0 to {_MOST_PORT}")
        if not (math.isfinite(self.ready_within_s) and 0 < self.ready_within_s <= _MOST_READY_S):
            raise SettingsError(
                f"--ready-within-s {self.ready_within_s}: must be above 0 and at most {_MOST_READY_S:g}"
            )


class LocalService(Part):
    """A running service.

    Attributes:
        bundle: the folder of its bundle.
        url: of the transformer's REST, such as http://127.0.0.1:8080.
        grpc_address: host:port of the transformer's gRPC.
        predictor_url: of the predictor's REST and metrics.
        predictor_address: host:port of the predictor's gRPC.
        predictor: its process.
        transformer: its process.
    """

    bundle: str
    url: str
    grpc_address: str
    predictor_url: str
    predictor_address: str
    predictor: LocalProcess
    transformer: LocalProcess

    @property
    def is_running(self) -> bool:
        """Whether both processes run; `is_ready` asks them."""
        return self.predictor.is_running and self.transformer.is_running


def start_service(bundle: Path, folder: Path, settings: LocalSettings | None = None) -> LocalService:
    """The service over a bundle, ready: its golden patch has come out right through both processes.

    Args:
        bundle: its folder.
        folder: for the logs and `service.json`; made where it is missing.
        settings: see `LocalSettings`.

    Raises:
        BundleError: the bundle cannot be used.
        SettingsError: a port is in use.
        ServiceError: the folder's service still runs; or a process ended, or the service was not ready in
            time; then nothing runs any more. The message holds the end of the log.
        OutputError: the folder cannot be written.
    """
    settings = settings or LocalSettings()
    load_bundle(bundle)  # both would refuse it, too, but seconds later
    _check_free(folder)
    _empty_logs(folder)
    for _ in range(_START_TRIES - 1):
        ports = _ports(settings)
        try:
            return _start_at(ports, bundle, folder, settings)
        except ServiceError:
            # Seconds pass between choosing a free port and listening at it, and others choose, too.
            if not _another_has(ports, settings):
                raise
    return _start_at(_ports(settings), bundle, folder, settings)


def _check_free(folder: Path) -> None:
    """Refuses a folder whose service runs: its `service.json` is all that tells others of it.

    Raises:
        ServiceError: a process of it runs.
    """
    try:
        earlier = read_service(folder)
    except ServiceError:
        return
    running = [each for each in (earlier.predictor, earlier.transformer) if each.is_running]
    if running:
        numbers = " ".join(str(each.pid) for each in running)
        raise ServiceError(
            f"{folder}: the service of this folder still runs ({earlier.url}); stop it (Ctrl-C where it was "
            f"started, or kill {numbers}) or choose another folder"
        )


def _empty_logs(folder: Path) -> None:
    """Empty logs: what earlier services have written there would be taken for this one's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _NAMES:
            (folder / f"{name}.log").write_bytes(b"")
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another folder"
        ) from error


def _start_at(ports: Mapping[str, int], bundle: Path, folder: Path, settings: LocalSettings) -> LocalService:
    shared = ("--bundle", str(bundle.resolve()), "--host", settings.host)
    address = f"{settings.host}:{ports['predictor_grpc_port']}"
    options = {
        "predictor": (*_port_options(ports, "predictor_"), *settings.predictor_options),
        "transformer": (
            *_port_options(ports, ""),
            "--predictor-host",
            address,
            *settings.transformer_options,
        ),
    }
    running: dict[str, LocalProcess] = {}
    try:
        for name in _NAMES:
            with held_signals():  # else an interruption finds a process that is not noted yet
                running[name] = _start(name, (*shared, *options[name]), folder)
        service = LocalService(
            bundle=str(bundle.resolve()),
            url=f"http://{settings.host}:{ports['http_port']}",
            grpc_address=f"{settings.host}:{ports['grpc_port']}",
            predictor_url=f"http://{settings.host}:{ports['predictor_http_port']}",
            predictor_address=address,
            predictor=running["predictor"],
            transformer=running["transformer"],
        )
        storage.write_text(folder / STATE, service.model_dump_json(indent=1) + "\n")
        wait_ready(service, settings.ready_within_s)
    except BaseException:  # Ctrl-C, too: nothing may be left running
        stop_all(list(running.values()))
        raise
    return service


def read_service(folder: Path) -> LocalService:
    """The service that `start_service` started with this folder, whether or not it still runs.

    Raises:
        ServiceError: there is none, or its state cannot be read.
    """
    path = folder / STATE
    try:
        return LocalService.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ServiceError(f"{path}: says nothing of a service; start one with this folder") from error


def is_ready(service: LocalService) -> bool:
    """Whether the service says that it is ready."""
    # A proxy of the environment is for the world outside.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{service.url}/v2/health/ready", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return False


def wait_ready(service: LocalService, within_s: float) -> None:
    """Returns when the service is ready.

    Raises:
        ServiceError: a process ended, or the time is over; the message holds the end of its log.
    """
    until = time.monotonic() + within_s
    while True:
        for process in (service.predictor, service.transformer):
            if not process.is_running:
                raise ServiceError(f"the {process.name} ended: {log_end(process)}")
        if is_ready(service):
            return
        if time.monotonic() > until:
            raise ServiceError(
                f"the service is not ready after {within_s:g} s: {log_end(service.transformer)}"
            )
        time.sleep(_POLL_S)


def stop_service(service: LocalService) -> None:
    """Stops both processes, requests in work finished; what has already ended is left alone.

    A signal that would end this program meanwhile waits until both have ended.
    """
    stop_all([service.predictor, service.transformer])


def _start(name: str, options: tuple[str, ...], folder: Path) -> LocalProcess:
    return spawn(name, (sys.executable, "-m", f"serving.{name}", *options), folder / f"{name}.log")


def _ports(settings: LocalSettings) -> dict[str, int]:
    """The ports, free at this moment, all different.

    Raises:
        SettingsError: one that is asked for is in use.
    """
    with contextlib.ExitStack() as held:
        return {name: _hold(name, getattr(settings, name), settings.host, held) for name in _PORTS}


def _another_has(ports: Mapping[str, int], settings: LocalSettings) -> bool:
    """Whether somebody else now listens at a port that was free when we chose it."""
    with contextlib.ExitStack() as held:
        for name in _PORTS:
            if getattr(settings, name) == 0:
                try:
                    _hold(name, ports[name], settings.host, held)
                except SettingsError:
                    return True
    return False


def _hold(name: str, port: int, host: str, held: contextlib.ExitStack) -> int:
    """Takes a port, any for 0, until `held` ends."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
    except (OSError, OverflowError) as error:
        option = name.replace("_", "-")
        raise SettingsError(
            f"--{option} {port} at {host}: {getattr(error, 'strerror', None) or error}; "
            "choose another port or host"
        ) from error
    return int(taken.getsockname()[1])


def _port_options(ports: Mapping[str, int], prefix: str) -> tuple[str, ...]:
    http, grpc = ports[f"{prefix}http_port"], ports[f"{prefix}grpc_port"]
    return ("--http-port", str(http), "--grpc-port", str(grpc))
