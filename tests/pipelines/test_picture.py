from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")

from etchline.chain.recording import LINKS
from pipelines.picture import draw, tasks

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "chain.svg"


def test_the_picture_is_what_the_code_says():
    """After a wanted change: python -m pipelines.picture docs/images/chain.svg"""
    assert PICTURE.read_text() == draw()


def test_it_shows_every_link_in_order_and_is_well_formed():
    assert tuple(task.name for task in tasks()) == (*LINKS, "report")
    texts = [each.text for each in ElementTree.fromstring(draw()).iter() if each.text]
    assert [text for text in texts if text in (*LINKS, "report")] == [*LINKS, "report"]
    assert "only if gate-passed" in texts
    for task in tasks():
        assert task.core in texts
