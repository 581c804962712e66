"""A backend that looks at each view twice: as it is, and turned by 180 degrees.

The mean of both answers holds a quarter fewer errors than one of them, and where they contradict each other
the mean lies near one half, which the cells' features see (docs/results.md). Four orientations gave no more.
The networks take twice as long.
"""

from typing import Literal

import numpy as np

from etchline.backends.delegating import DelegatingBackend
from etchline.backends.interface import Backend, Float32Array, Inference, Int32Array, Role, Uint8Array

Orientations = Literal[1, 2]


class TurningBackend(DelegatingBackend):
    """A `Backend` that gives the mean of another's answers to a view and to the turned view."""

    def infer(
        self, role: Role, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array
    ) -> Inference:
        """See `Backend.infer`. Probabilities are rounded to the nearest whole number, halves upwards."""
        count, last = len(images_bhw), self.view_px(role) - 1
        found = self.asked.infer(
            role,
            np.concatenate([images_bhw, _turned(images_bhw)]),
            np.concatenate([points_xy, last - points_xy]),
            np.concatenate([labels, labels]),
        )
        straight_bhw, turned_bhw = found.probability_bhw[:count], _turned(found.probability_bhw[count:])
        # a + b + 1 does not fit uint8: half of each and the bit that both halves lose.
        mean_bhw = (straight_bhw >> 1) + (turned_bhw >> 1) + ((straight_bhw | turned_bhw) & 1)
        return Inference(mean_bhw, (found.score_b[:count] + found.score_b[count:]) * np.float32(0.5))


def oriented(backend: Backend, orientations: Orientations) -> Backend:
    """The backend, asked about each view in so many orientations."""
    return backend if orientations == 1 else TurningBackend(backend)


def _turned(views_bhw: Uint8Array) -> Uint8Array:
    return views_bhw[:, ::-1, ::-1]
