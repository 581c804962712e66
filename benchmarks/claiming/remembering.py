"""A backend that answers the same question once, so that several policies cost one pass of the networks."""

import hashlib

from etchline.backends.interface import Backend, Float32Array, Inference, Int32Array, Role, Uint8Array


class RememberingBackend:
    """A `Backend` that keeps the answers of another one until `forget`.

    Args:
        backend: the one that is asked.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._answers: dict[bytes, Inference] = {}
        self.asked = 0

    @property
    def name(self) -> str:
        """See `Backend.name`."""
        return self._backend.name

    @property
    def roles(self) -> tuple[Role, ...]:
        """See `Backend.roles`."""
        return self._backend.roles

    def view_px(self, role: Role) -> int:
        """See `Backend.view_px`."""
        return self._backend.view_px(role)

    def infer(
        self, role: Role, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array
    ) -> Inference:
        """See `Backend.infer`."""
        key = hashlib.blake2b(repr((role, images_bhw.shape, points_xy.shape)).encode())
        for array in (images_bhw, points_xy, labels):
            key.update(array.tobytes())
        if key.digest() not in self._answers:
            self.asked += 1
            self._answers[key.digest()] = self._backend.infer(role, images_bhw, points_xy, labels)
        return self._answers[key.digest()]

    def forget(self) -> None:
        """Drops all answers: the next image shares none of them."""
        self._answers.clear()
