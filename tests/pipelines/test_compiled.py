"""The compiled pipelines are what they were: a change of the wiring is a change of the golden tree."""

import os
from pathlib import Path

import pytest
import yaml

pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")

from kfp.compiler import Compiler

from pipelines.__main__ import NAMES, _pipeline

GOLDEN = Path(__file__).with_name("golden")
UPDATE = "ETCHLINE_UPDATE_GOLDEN"


def tree(path):
    """The documents without what changes with kfp's version."""
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        document.pop("sdkVersion", None)
    return documents


@pytest.mark.parametrize("name", NAMES)
def test_the_compiled_tree_is_the_golden_one(name, tmp_path):
    """After a wanted change: ETCHLINE_UPDATE_GOLDEN=1 pytest tests/pipelines/test_compiled.py"""
    Compiler().compile(_pipeline(name), str(tmp_path / "new.yaml"))
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get(UPDATE):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text((tmp_path / "new.yaml").read_text())
    assert tree(tmp_path / "new.yaml") == tree(golden)


def test_gpu_steps_take_their_node_as_parameters():
    (pipeline, platform) = tree(GOLDEN / "finetune_and_deploy.yaml")
    executors = pipeline["deploymentSpec"]["executors"]
    asking = {name for name, each in executors.items() if "resources" in each["container"]}
    assert asking == {"exec-finetune", "exec-evaluate"}
    for name in asking:
        kind = executors[name]["container"]["resources"]["accelerator"]["resourceType"]
        assert "accelerator" in kind
        placed = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][name]
        assert set(placed) == {"nodeSelector", "tolerations"}


def test_what_follows_the_gate_runs_only_if_it_is_passed():
    (pipeline, _) = tree(GOLDEN / "finetune_and_deploy.yaml")
    tasks = pipeline["components"]["comp-chain"]["dag"]["tasks"]
    assert set(tasks) == {"prepare-data", "finetune", "evaluate", "gate-esd", "condition-1"}
    condition = tasks["condition-1"]["triggerPolicy"]["condition"]
    assert condition == "inputs.parameter_values['pipelinechannel--gate-esd-Output'] == true"


def test_no_step_is_taken_from_the_cache():
    (pipeline, _) = tree(GOLDEN / "finetune_and_deploy.yaml")
    dags = [
        pipeline["root"]["dag"],
        *(each["dag"] for each in pipeline["components"].values() if "dag" in each),
    ]
    cached = {
        name
        for dag in dags
        for name, task in dag["tasks"].items()
        if task.get("cachingOptions", {}).get("enableCache") and not name.startswith("condition")
    }
    assert not cached
