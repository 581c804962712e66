"""A pipeline on this machine: the same object that is compiled for a cluster, its steps as processes."""

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kfp import local
from kfp.dsl.base_component import BaseComponent

from etchline.chain.deploying import stop_abandoned
from etchline.chain.reporting import JSON_NAME, write_report
from etchline.errors import EtchlineError
from etchline.storage import open_store

MAX_REPORT_BYTES = 2**24
PROJECT = Path(__file__).resolve().parents[1]


def run_locally(pipeline: BaseComponent, arguments: Mapping[str, Any], artifacts: Path) -> dict[str, Any]:
    """The report that the run's last step has written, however the run ended.

    What the steps print goes to stderr. A service that the run has started and not put into service is
    stopped; an interrupted run leaves its report, too.

    Args:
        pipeline: its parameters `run_uri` and `serving_dir` name the folders of its report and of
            this machine's services.
        arguments: of the pipeline.
        artifacts: folder for what the steps hand on; each run has one of its own below it.

    Raises:
        EtchlineError: there is no report.
    """
    failure: RuntimeError | None = None
    with _steps_find_us(), contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kfp's own, such as of SWIG types
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(artifacts))
        try:
            pipeline(**arguments)
        except RuntimeError as error:  # kfp's word for a step that failed; the report says which and why
            failure = error
        except KeyboardInterrupt:
            write_report(arguments["run_uri"], state="INTERRUPTED")
            raise
        finally:
            stop_abandoned(arguments["run_uri"], arguments["serving_dir"])
    store = open_store(arguments["run_uri"])
    if not any(file.name == JSON_NAME for file in store.files()):
        raise EtchlineError(f"{store.location}: the run has left no {JSON_NAME}; {failure}") from failure
    found: dict[str, Any] = json.loads(store.read(JSON_NAME, 0, MAX_REPORT_BYTES))
    return found


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
