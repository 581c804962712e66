"""The predictor: a bundle's networks as the KServe models `etchline-full` and `etchline-patch`.

Inputs of both: `image` UINT8 [B, S, S], `points` FP32 [B, N, 2] (x, y), `labels` INT32 [B, N]. Outputs:
`mask` UINT8 [B, S, S], `round(255 p)`, and `score` FP32 [B]. See `etchline.backends.interface.Backend.infer`.
"""

import sys
from typing import Any

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model
from kserve.errors import InvalidInput
from kserve.logging import logger

from etchline.backends.interface import Backend, Role, check_batch
from etchline.bundle import Bundle
from etchline.errors import MissingPackageError, SettingsError
from etchline.segmentation.files import library_versions
from serving.batching import Batcher, BatchSettings
from serving.bundles import served_bundle
from serving.readiness import check_networks
from serving.server import GuardedServer, exit_code_of
from serving.settings import PREDICTOR_MODELS, PredictorSettings, parse_predictor
from serving.tensors import named_inputs, read_array

MAX_POINTS = 64
"""Of one view; the attention's cost grows with them."""


class NetworkModel(Model):  # type: ignore[misc]  # kserve is untyped
    """One network of the bundle.

    Args:
        role: which.
        bundle: it comes from.
        backend: the engine.
        batcher: in front of the engine, for both networks.
    """

    def __init__(self, role: Role, bundle: Bundle, backend: Backend, batcher: Batcher) -> None:
        super().__init__(PREDICTOR_MODELS[role])
        self._role: Role = role
        self._backend = backend
        self._batcher = batcher
        self._digest = bundle.digest
        self.ready = True

    async def predict(
        self, payload: object, headers: dict[str, str] | None = None, _: object = None
    ) -> InferResponse:
        """The masks and scores of a batch of views.

        Raises:
            InvalidInput: the request is not as the module says.
            QueueFull: too many views wait.
        """
        if not isinstance(payload, InferRequest):
            raise InvalidInput(f"{self.name}: speaks the Open Inference Protocol only; use /v2/")
        tensors = named_inputs(payload, ("image", "points", "labels"))
        images_bhw = read_array(tensors["image"], np.uint8, 3)
        points_xy = read_array(tensors["points"], np.float32, 3)
        labels = read_array(tensors["labels"], np.int32, 2)
        if labels.shape[1] > MAX_POINTS:
            raise InvalidInput(f"labels: {labels.shape[1]} points a view, more than {MAX_POINTS}")
        try:
            check_batch(self._backend.view_px(self._role), images_bhw, points_xy, labels)
        except SettingsError as error:
            raise InvalidInput(str(error)) from error
        if not len(images_bhw):
            raise InvalidInput("image: no views; need [B, S, S] with B of 1 or more")
        logger.info("%s: %d views, traceparent %s", self.name, len(images_bhw), _trace(headers))
        found = await self._batcher.infer(self._role, images_bhw, points_xy, labels)
        return InferResponse(
            response_id=payload.id or "",
            model_name=self.name,
            infer_outputs=[
                InferOutput("mask", list(found.probability_bhw.shape), "UINT8", found.probability_bhw),
                InferOutput("score", list(found.score_b.shape), "FP32", found.score_b),
            ],
            parameters={"bundle_digest": self._digest, "backend": self._backend.name},
            # Over gRPC arrays go as bytes anyway, and kserve stumbles over them if told so.
            use_binary_outputs=payload.use_binary_outputs and not payload.from_grpc,
            requested_outputs=payload.request_outputs,
        )

    def load(self) -> bool:
        """Whether it is ready; kserve's own would make it so."""
        return bool(self.ready)

    def get_input_types(self) -> list[dict[str, Any]]:
        """What it takes; -1 is any number."""
        edge = self._backend.view_px(self._role)
        return [
            {"name": "image", "datatype": "UINT8", "shape": [-1, edge, edge]},
            {"name": "points", "datatype": "FP32", "shape": [-1, -1, 2]},
            {"name": "labels", "datatype": "INT32", "shape": [-1, -1]},
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """What it gives."""
        edge = self._backend.view_px(self._role)
        return [
            {"name": "mask", "datatype": "UINT8", "shape": [-1, edge, edge]},
            {"name": "score", "datatype": "FP32", "shape": [-1]},
        ]


def open_backend(bundle: Bundle, settings: PredictorSettings) -> Backend:
    """The engine that the settings ask for: the one place that knows them all.

    Raises:
        SettingsError: there is none of that name, or no such device.
        MissingPackageError: its packages are not installed.
        WeightsError: the bundle's weights are not its networks'.
    """
    if settings.backend not in ("auto", "torch"):
        raise SettingsError(f"--backend {settings.backend}: not known to this version; choose auto or torch")
    try:
        from etchline.backends.torch_engine import TorchSettings
        from etchline.bundle.torch_networks import torch_backend
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"backend torch: {error.name} is not installed; pip install 'etchline[train]'"
        ) from error
    engine = TorchSettings(settings.device, max_batch=settings.max_batch, threads=settings.threads)
    return torch_backend(bundle, engine)


def serve(settings: PredictorSettings) -> None:
    """Serves until SIGINT or SIGTERM. Nothing listens before the golden patch is segmented as it should be.

    Raises:
        StorageError: the bundle cannot be fetched.
        BundleError: it cannot be used, or the golden patch comes out differently.
        SettingsError: a port is in use.
        EtchlineError: see `open_backend`.
    """
    with served_bundle(settings.bundle) as bundle:
        _serve(bundle, settings)


def _serve(bundle: Bundle, settings: PredictorSettings) -> None:
    backend = open_backend(bundle, settings)
    iou = check_networks(bundle, backend)
    logger.info("bundle %s on %s: golden IoU %.4f", bundle.digest[:12], backend.name, iou)
    batching = BatchSettings(settings.max_batch, settings.max_wait_ms / 1000, settings.max_queue)
    batcher = Batcher(backend.infer, batching)
    models = [NetworkModel(role, bundle, backend, batcher) for role in backend.roles]
    GuardedServer(settings.listen, lambda _: None, _facts(bundle)).serve(models)


def _facts(bundle: Bundle) -> dict[str, Any]:
    return {"bundle": {"name": bundle.manifest.name, "digest": bundle.digest}, "versions": library_versions()}


def main(arguments: list[str] | None = None) -> int:
    """Runs the predictor; returns the exit code."""
    return exit_code_of(lambda: serve(parse_predictor(arguments)))


def _trace(headers: dict[str, str] | None) -> str:
    """The `traceparent` header for the log: printable, and no longer than it may be."""
    return ascii((headers or {}).get("traceparent", "-"))[:64]


if __name__ == "__main__":
    sys.exit(main())
