"""A backend in front of another one."""

from etchline.backends.interface import Backend, Float32Array, Inference, Int32Array, Role, Uint8Array


class DelegatingBackend:
    """A `Backend` that passes on what it is asked; subclasses change how.

    Args:
        backend: answers.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def asked(self) -> Backend:
        """The one that answers."""
        return self._backend

    @property
    def name(self) -> str:
        """See `Backend.name`."""
        return self.asked.name

    @property
    def roles(self) -> tuple[Role, ...]:
        """See `Backend.roles`."""
        return self.asked.roles

    def view_px(self, role: Role) -> int:
        """See `Backend.view_px`."""
        return self.asked.view_px(role)

    def infer(
        self, role: Role, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array
    ) -> Inference:
        """See `Backend.infer`."""
        return self.asked.infer(role, images_bhw, points_xy, labels)
