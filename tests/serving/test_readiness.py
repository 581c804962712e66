import numpy as np
import pytest

from etchline.backends.interface import Inference
from etchline.bundle import load_bundle
from etchline.bundle.segmenting import open_engine
from etchline.bundle.shipped import SHIPPED
from etchline.errors import BundleError
from serving.readiness import check_networks

BUNDLE = load_bundle(SHIPPED)


class Changed:
    """The shipped networks, whose full model's answer is changed."""

    def __init__(self, change):
        self._engine, self._change = open_engine(SHIPPED, BUNDLE.digest), change
        self.name, self.roles, self.view_px, self.asked = (
            "changed",
            self._engine.roles,
            self._engine.view_px,
            [],
        )

    def infer(self, role, *views):
        self.asked.append(role)
        found = self._engine.infer(role, *views)
        return self._change(found) if role == "full" else found


def test_every_network_is_asked():
    backend = Changed(lambda found: found)
    assert check_networks(BUNDLE, backend) >= 0.99
    assert backend.asked == ["patch", "full"]


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found._replace(score_b=np.array([np.nan], np.float32)),
        lambda found: found._replace(score_b=np.array([np.inf], np.float32)),
        lambda found: found._replace(score_b=np.array([], np.float32)),
        lambda found: found._replace(probability_bhw=found.probability_bhw[:, ::2]),
        lambda found: Inference(found.probability_bhw.astype(np.float32), found.score_b),
    ],
)
def test_a_full_model_that_answers_nonsense(change):
    with pytest.raises(BundleError, match="changed: the full model answers the golden patch by a mask"):
        check_networks(BUNDLE, Changed(change))
