"""How the two processes are started: their settings, as options of their commands."""

import argparse
import math
from dataclasses import dataclass, field

from etchline.backends.interface import ROLES
from etchline.errors import SettingsError
from serving.uris import parse_prefix

MEBIBYTE = 2**20
MODEL = "etchline"
"""The transformer's model; the predictor's have the role behind it."""
_MOST = {
    "http_port": 65535,
    "grpc_port": 65535,
    "max_bytes": 2**31 - 1,
    "threads": 1024,
    "max_batch": 4096,
    "max_wait_ms": 60_000,
    "max_queue": 1_000_000,
    "deadline_s": 24 * 3600,
    "max_pixels": 10**11,
    "max_instances": 1000,
    "max_running": 1000,
    "max_waiting": 100_000,
    "calls_at_once": 1000,
    "views_per_call": 4096,
}
"""What is above is a slip of the keyboard; gRPC cannot count longer messages than that."""
PREDICTOR_MODELS = {role: f"{MODEL}-{role}" for role in ROLES}


@dataclass(frozen=True)
class ListenSettings:
    """Where a process listens.

    Attributes:
        host: address; 0.0.0.0 is every one.
        http_port: of REST and metrics.
        grpc_port: of gRPC.
        max_bytes: of a request, over REST and gRPC.

    Raises:
        SettingsError: no address, or a number out of its range.
    """

    host: str = "127.0.0.1"
    http_port: int = 8080
    grpc_port: int = 8081
    max_bytes: int = 64 * MEBIBYTE

    def __post_init__(self) -> None:
        if not self.host.strip():
            raise SettingsError(
                "--host: is empty, which would be every address; say 0.0.0.0 if you want that"
            )
        _check_ranges(self, "http_port", "grpc_port", "max_bytes")
        if self.http_port == self.grpc_port:
            raise SettingsError(f"--http-port and --grpc-port are both {self.http_port}; choose two ports")


@dataclass(frozen=True)
class PredictorSettings:
    """The predictor.

    Attributes:
        bundle: nano, a folder, or `s3://bucket/prefix`.
        listen: where it listens.
        backend: "auto" or "torch".
        device: as torch spells it.
        threads: of one inference; `None` is the engine's own choice.
        max_batch: views that go through a network together.
        max_wait_ms: a batch that is not full waits this long for others.
        max_queue: views that may wait.

    Raises:
        SettingsError: a number out of its range.
    """

    bundle: str
    listen: ListenSettings = field(default_factory=ListenSettings)
    backend: str = "auto"
    device: str = "cpu"
    threads: int | None = None
    max_batch: int = 8
    max_wait_ms: float = 2.0
    max_queue: int = 256

    def __post_init__(self) -> None:
        _check_ranges(self, "max_batch", "max_queue", *(() if self.threads is None else ("threads",)))
        if self.max_wait_ms:
            _check_ranges(self, "max_wait_ms")


@dataclass(frozen=True)
class TransformerSettings:
    """The transformer.

    Attributes:
        bundle: as the predictor's, which must run the same one.
        listen: where it listens.
        predictor: host:port of the predictor's gRPC.
        deadline_s: of one request, waiting included.
        max_pixels: of an image.
        max_instances: images in one request of KServe v1.
        max_running: images segmented at a time.
        max_waiting: images that may wait.
        calls_at_once: calls to the predictor at a time, for one image.
        views_per_call: views in one call.
        uri_prefixes: where images may be taken from by `uri`; none by default.

    Raises:
        SettingsError: a number out of its range, no host:port, or a prefix that is no absolute place.
    """

    bundle: str
    listen: ListenSettings = field(default_factory=ListenSettings)
    predictor: str = "127.0.0.1:9001"
    deadline_s: float = 60.0
    max_pixels: int = 64_000_000
    max_instances: int = 8
    max_running: int = 2
    max_waiting: int = 16
    calls_at_once: int = 4
    views_per_call: int = 8
    uri_prefixes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_ranges(self, "deadline_s", "max_pixels", "max_instances", "max_running", "max_waiting")
        _check_ranges(self, "calls_at_once", "views_per_call")
        host, _, port = self.predictor.rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port) <= _MOST["grpc_port"]):
            raise SettingsError(f"--predictor-host {self.predictor}: give HOST:PORT, such as 127.0.0.1:9001")
        for prefix in self.uri_prefixes:
            parse_prefix(prefix)


def parse_predictor(arguments: list[str] | None = None) -> PredictorSettings:
    """The settings from a command line; `None` takes that of the process."""
    parser = _parser("serving.predictor", "The predictor: the networks of a bundle over gRPC and REST.", 9000)
    own = PredictorSettings("")
    parser.add_argument("--backend", default=own.backend, help="auto or torch")
    parser.add_argument("--device", default=own.device, help="as torch spells it, such as cuda:0")
    parser.add_argument("--threads", type=int, help="of one inference")
    parser.add_argument("--max-batch", type=int, default=own.max_batch, help="views that go together")
    parser.add_argument("--max-wait-ms", type=float, default=own.max_wait_ms, help="of a batch for more")
    parser.add_argument("--max-queue", type=int, default=own.max_queue, help="views that may wait")
    known = vars(parser.parse_args(arguments))
    return PredictorSettings(known.pop("bundle"), _listen(known), **known)


def parse_transformer(arguments: list[str] | None = None) -> TransformerSettings:
    """The settings from a command line; `None` takes that of the process."""
    parser = _parser("serving.transformer", "The transformer: images in, lines out.", 8080)
    own = TransformerSettings("")
    parser.add_argument(
        "--predictor-host",
        "--predictor_host",
        dest="predictor",
        default=own.predictor,
        metavar="HOST:PORT",
        help="the predictor's gRPC",
    )
    parser.add_argument("--deadline-s", type=float, default=own.deadline_s, help="of one image")
    parser.add_argument("--max-pixels", type=int, default=own.max_pixels, help="of an image")
    parser.add_argument("--max-instances", type=int, default=own.max_instances, help="in a v1 request")
    parser.add_argument("--max-running", type=int, default=own.max_running, help="images at a time")
    parser.add_argument("--max-waiting", type=int, default=own.max_waiting, help="images that may wait")
    parser.add_argument("--calls-at-once", type=int, default=own.calls_at_once, help="for one image")
    parser.add_argument("--views-per-call", type=int, default=own.views_per_call, help="to the predictor")
    parser.add_argument(
        "--uri-prefix",
        dest="uri_prefixes",
        action="append",
        default=[],
        metavar="PREFIX",
        help="images may lie below file:///folder/ or s3://bucket/prefix/; may be given several times",
    )
    known = vars(parser.parse_args(arguments))
    known["uri_prefixes"] = tuple(known["uri_prefixes"])
    return TransformerSettings(known.pop("bundle"), _listen(known), **known)


def _parser(module: str, description: str, http_port: int) -> argparse.ArgumentParser:
    """The options that both share; kserve's own spelling of the ports is understood, too."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    own = ListenSettings()
    parser.add_argument("--bundle", required=True, help="folder of the bundle, s3://bucket/prefix, or nano")
    parser.add_argument("--host", default=own.host, help="address to listen on; 0.0.0.0 is every one")
    parser.add_argument("--http-port", "--http_port", type=int, default=http_port, help="REST and metrics")
    parser.add_argument("--grpc-port", "--grpc_port", type=int, default=http_port + 1, help="gRPC")
    parser.add_argument("--max-bytes", type=int, default=own.max_bytes, help="of a request")
    return parser


def _listen(known: dict[str, object]) -> ListenSettings:
    names = ("host", "http_port", "grpc_port", "max_bytes")
    return ListenSettings(**{name: known.pop(name) for name in names})  # type: ignore[arg-type]


def _check_ranges(settings: object, *names: str) -> None:
    """Refuses what is not above 0, above `_MOST`, or no number at all.

    Raises:
        SettingsError: naming the value and its range.
    """
    for name in names:
        value = getattr(settings, name)
        if not (math.isfinite(value) and 0 < value <= _MOST[name]):
            raise SettingsError(f"{name}={value}: must be above 0 and at most {_MOST[name]}")
