"""`python -m serving`: predictor and transformer on this machine, until Ctrl-C, SIGTERM or SIGHUP."""

import argparse
import sys
import time
from pathlib import Path

from etchline.bundle.shipped import NANO
from etchline.errors import EtchlineError, ServiceError
from etchline.rollout.local import LocalSettings, start_service
from etchline.rollout.local_process import stop_started
from etchline.signals import interrupted_once
from etchline.storage import local_folder
from serving.bundles import served_bundle

_POLL_S = 0.5


def main(arguments: list[str] | None = None) -> int:
    """Starts both, prints the address when they are ready, ends them with itself; returns the exit code."""
    known = _parser().parse_args(arguments)
    try:
        run_dir = local_folder(known.run_dir, "--run-dir")
        settings = LocalSettings(
            host=known.host,
            http_port=known.http_port,
            grpc_port=known.grpc_port,
            predictor_http_port=known.predictor_http_port,
            predictor_grpc_port=known.predictor_grpc_port,
            ready_within_s=known.ready_within_s,
        )
        with interrupted_once(), served_bundle(known.bundle) as bundle:
            _serve(bundle.folder, run_dir, settings)
    except EtchlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    return 0


def _serve(bundle: Path, run_dir: Path, settings: LocalSettings) -> None:
    """Runs the service until KeyboardInterrupt.

    Raises:
        ServiceError: it cannot be started, or one of its processes ended by itself.
    """
    print(f"starting predictor and transformer; logs in {run_dir}", file=sys.stderr)
    try:
        service = start_service(bundle, run_dir, settings)
        print(f"ready: {service.url} (gRPC {service.grpc_address}); Ctrl-C ends it", flush=True)
        while service.is_running:
            time.sleep(_POLL_S)
        raise ServiceError(f"a process of the service ended by itself; see the logs in {run_dir}")
    finally:
        stop_started()  # whatever has been started: an interruption may come before we know of a service


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serves a bundle on this machine.",
        epilog="Example: python -m serving --bundle nano --http-port 8080",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--bundle", default=NANO, help="folder of the bundle, s3://bucket/prefix, or nano")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is every one")
    parser.add_argument("--http-port", type=int, default=8080, help="REST; 0 is any free port")
    parser.add_argument("--grpc-port", type=int, default=8081, help="gRPC; 0 is any free port")
    parser.add_argument("--predictor-http-port", type=int, default=0, help="the predictor's REST")
    parser.add_argument("--predictor-grpc-port", type=int, default=0, help="the predictor's gRPC")
    parser.add_argument("--ready-within-s", type=float, default=120.0, help="give up after this time")
    parser.add_argument("--run-dir", type=Path, default=Path("runs/serve"), help="for the logs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
