"""What messages are made of."""

import pytest

from etchline.errors import first_few


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], ""),
        (["b", "a"], "b, a"),
        ({"b", "a"}, "a, b"),
        (list("edcba"), "e, d, c, b, a"),
        (iter("fedcba"), "f, e, d, c, b and 1 more"),
        (dict.fromkeys("gfedcba").keys(), "a, b, c, d, e and 2 more"),
    ],
)
def test_the_first_few(names, told):
    assert first_few(names) == told
