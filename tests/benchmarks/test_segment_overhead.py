"""What the benchmark of the overhead times apart exists: a renamed function would be a broken benchmark."""

import importlib

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from segment_overhead import PARTS


@pytest.mark.parametrize("place", [place for places in PARTS.values() for place in places])
def test_what_is_timed_exists(place):
    module, _, names = place.partition(":")
    owner = importlib.import_module(f"etchline.{module}")
    for name in names.split("."):
        owner = getattr(owner, name)
    assert callable(owner)
