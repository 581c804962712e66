"""A pipeline on this machine: the same object that is compiled for a cluster, its steps as processes."""

import contextlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kfp import local
from kfp.dsl.base_component import BaseComponent

from etchline.chain.deploying import stop_abandoned
from etchline.chain.reporting import HTML_NAME, JSON_NAME, write_report
from etchline.errors import EtchlineError
from etchline.signals import interrupted_once
from etchline.storage import open_store
from pipelines.run_log import RunLog
from pipelines.step_processes import children, end_steps

LOG_NAME = "run.log"
MAX_REPORT_BYTES = 2**24
INTERRUPTED = 128 + signal.SIGINT  # as a shell says it
PROJECT = Path(__file__).resolve().parents[1]


class InterruptedRunError(EtchlineError):
    """A run that was told to end."""

    exit_code = INTERRUPTED


def run_locally(pipeline: BaseComponent, arguments: Mapping[str, Any], artifacts: Path) -> dict[str, Any]:
    """The report that the run's last step has written, however the run ended.

    What the links say goes to stderr, and all that the steps print into `run.log` beside `artifacts`. A
    service that the run has started and not put into service is stopped. An interrupted run leaves its
    report, too, and no process; further signals do not disturb it on its way to its end.

    Args:
        pipeline: its parameters `run_uri` and `serving_dir` name the folders of its report and of
            this machine's services.
        arguments: of the pipeline.
        artifacts: folder for what the steps hand on; each run has one of its own below it.

    Raises:
        EtchlineError: there is no report.
        InterruptedRunError: at the first of the signals that end a process, also while services are stopped.
    """
    failure: RuntimeError | None = None
    log, others = artifacts.with_name(LOG_NAME), children(os.getpid())
    with (
        interrupted_once(),
        _steps_find_us(),
        RunLog(log) as stream,
        contextlib.redirect_stdout(stream),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # kfp's own, such as of SWIG types
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(artifacts))
        try:
            try:
                pipeline(**arguments)
            except RuntimeError as error:  # kfp's word for a step that failed; the report says which and why
                failure = error
            except KeyboardInterrupt:
                sys.stderr.write("interrupted; stopping what runs\n")
                end_steps(others)
                raise
            finally:
                stop_abandoned(arguments["run_uri"], arguments["serving_dir"])
        except KeyboardInterrupt as error:
            # Once more: where the interruption came while services were stopped, some are left.
            stop_abandoned(arguments["run_uri"], arguments["serving_dir"])
            raise _interrupted(arguments["run_uri"]) from error
    store = open_store(arguments["run_uri"])
    if store.sha256(JSON_NAME) is None:
        raise EtchlineError(f"{store.location}: the run has left no {JSON_NAME}; see {log}") from failure
    found: dict[str, Any] = json.loads(store.read(JSON_NAME, 0, MAX_REPORT_BYTES))
    return found


def _interrupted(run: str) -> InterruptedRunError:
    """Writes the report of an interrupted run; the error says where."""
    write_report(run, state="INTERRUPTED")
    return InterruptedRunError(
        f"interrupted; what was not in service has been stopped, {run}/{HTML_NAME} says how far the run "
        "came; a run begins anew, in a folder of its own: run the command again"
    )


@contextlib.contextmanager
def _steps_find_us() -> Iterator[None]:
    """The steps' processes import etchline and serving from here, wherever they are started."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), before]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
