"""Engines of a bundle through the parity gate. Needs the extras `train` and `onnx`."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etchline.backends.interface import ROLES, Backend, Role, Uint8Array, view_edge
from etchline.backends.remembering import RememberingBackend
from etchline.bundle.golden import golden_patch
from etchline.bundle.judging import esd_of
from etchline.bundle.loading import Bundle, load_bundle
from etchline.bundle.onnx_networks import files_backend, onnx_backend
from etchline.bundle.parity import (
    FLOAT32,
    ComparingBackend,
    ParityLimits,
    ParityVerdict,
    ViewParity,
    judge,
    refused,
)
from etchline.bundle.segmenting import NetworkChoice, network_bundle, open_engine
from etchline.bundle.torch_networks import torch_backend
from etchline.datasets import Dataset, ImageEntry
from etchline.errors import BundleError, DatasetError
from etchline.evaluation import EsdCounts, evaluate_masks
from etchline.images import ArraySink, open_image, read_mask
from etchline.processes import Steps, map_processes, unseen_steps
from etchline.segmentation.arbitration import Policy
from etchline.segmentation.files import SegmentBundle
from etchline.segmentation.prompting import place_prompt
from etchline.segmentation.segmenter import Sinks, segment_source

CANDIDATE = "onnxruntime"
_DRAWN_VIEWS = 4


def verify_parity(
    folder: Path,
    dataset: Dataset,
    *,
    limits: ParityLimits = FLOAT32,
    jobs: int | None = None,
    steps: Steps = unseen_steps,
) -> ParityVerdict:
    """The verdict on the graphs of the bundle in a folder, by a dataset's validation images.

    Images are segmented as `etchline segment` does it with the bundle's policy and `--scale auto`, by torch
    and by onnxruntime; a network that the policy does not ask segments them alone, for its masks.

    Raises:
        BundleError: the bundle cannot be used. Graphs that cannot are a failed verdict instead.
        DatasetError: no image in split val, or files that have changed.
        MissingPackageError: torch or onnxruntime is not installed.
    """
    bundle = load_bundle(folder)
    entries = dataset.select(split="val")
    if not entries:
        raise DatasetError(f"{dataset.folder}: no images in split val, by which engines are compared")
    reference = open_engine(folder, bundle.digest, "torch").name
    try:
        names = (onnx_backend(bundle).name, reference)
        work = functools.partial(_compare_image, bundle=bundle, dataset=dataset)
        compared = list(steps("parity", map_processes(work, entries, jobs), len(entries)))
    except BundleError as error:
        return refused((CANDIDATE, reference), str(error), limits)
    return judge(
        names,
        [view for each in compared for view in each.views],
        bundle.manifest.networks,
        (
            sum((each.candidate for each in compared), EsdCounts()),
            sum((each.reference for each in compared), EsdCounts()),
        ),
        dataset_digest=dataset.digest,
        limits=limits,
    )


def quick_parity(
    bundle: Bundle, graphs: Mapping[str, Path], *, limits: ParityLimits = FLOAT32
) -> ParityVerdict:
    """The verdict on graphs by drawn views and the golden patch: seconds, but no ESD.

    Args:
        bundle: its weights are the reference.
        graphs: files by their paths in a bundle; they need not be in it.
        limits: what counts as equal.
    """
    reference = torch_backend(bundle)
    try:
        candidate = files_backend(bundle, graphs)
        comparing = ComparingBackend(candidate, reference)
        for role, part in bundle.manifest.networks.items():
            views = [*drawn_views(view_edge(part.size, role)), *_golden(bundle, role)]
            _ask(comparing, role, np.stack(views), bundle)
    except BundleError as error:
        return refused((CANDIDATE, reference.name), str(error), limits)
    names = (candidate.name, reference.name)
    return judge(names, comparing.views, bundle.manifest.networks, None, dataset_digest=None, limits=limits)


def drawn_views(edge_px: int) -> Iterator[Uint8Array]:
    """Views of noisy lines, uint8 (edge, edge), of several widths, along both axes; the last has none."""
    rng = np.random.default_rng(0)
    place = np.arange(edge_px)
    for number in range(_DRAWN_VIEWS):
        pitch_px = max(4, edge_px >> (number % 3 + 1))
        stripes = (place % pitch_px < pitch_px // 2) & (number < _DRAWN_VIEWS - 1)
        level = np.where(stripes, 190.0, 50.0)
        level_hw = np.broadcast_to(level if number % 2 else level[:, None], (edge_px, edge_px))
        noisy_hw = level_hw + rng.normal(0, 12, (edge_px, edge_px))
        yield np.clip(noisy_hw, 0, 255).astype(np.uint8)


def _golden(bundle: Bundle, role: Role) -> Iterator[Uint8Array]:
    """The golden patch, for the role that it is a view of."""
    part = bundle.manifest.networks[role]
    patch_hw = golden_patch(bundle)
    if patch_hw.shape == (view_edge(part.size, role),) * 2:
        yield patch_hw


def _ask(backend: Backend, role: Role, views_bhw: Uint8Array, bundle: Bundle) -> None:
    """Has views segmented with their prompts, those with as many points together."""
    prompts = [
        place_prompt(view_hw, (ROLES.index(role), 0, number), bundle.manifest.prompt)
        for number, view_hw in enumerate(views_bhw)
    ]
    for count in sorted({len(prompt.labels) for prompt in prompts}):
        chosen = [number for number, prompt in enumerate(prompts) if len(prompt.labels) == count]
        points_xy = np.stack([prompts[number].points_xy for number in chosen])
        labels = np.stack([prompts[number].labels for number in chosen])
        backend.infer(role, views_bhw[chosen], points_xy, labels)


@dataclass(frozen=True)
class _Compared:
    """One image: its views, and the errors of the two results."""

    views: tuple[ViewParity, ...]
    candidate: EsdCounts
    reference: EsdCounts


def _compare_image(entry: ImageEntry, bundle: Bundle, dataset: Dataset) -> _Compared:
    dataset.verify(entry)
    # The candidate asks for the same views again.
    reference = RememberingBackend(open_engine(bundle.folder, bundle.digest, "torch"))
    comparing = ComparingBackend(open_engine(bundle.folder, bundle.digest, "onnxruntime"), reference)
    policies = _policies(bundle)
    own, *_ = [_errors(entry, dataset, bundle, policy, comparing) for policy in policies]
    others = _errors(entry, dataset, bundle, policies[0], reference)
    return _Compared(tuple(comparing.views), own, others)


def _policies(bundle: Bundle) -> list[Policy]:
    """The bundle's own, then those that ask the networks which it does not ask."""
    own = bundle.manifest.arbitration.policy
    asked = {own} if own in ROLES else set(ROLES)
    return [own, *(role for role in ROLES if role in bundle.manifest.networks and role not in asked)]


def _errors(
    entry: ImageEntry, dataset: Dataset, bundle: Bundle, policy: Policy, backend: Backend
) -> EsdCounts:
    whole: SegmentBundle = network_bundle(bundle, NetworkChoice(policy=policy), backend)
    with open_image(dataset.image_path(entry)) as source:
        mask, confidence = (ArraySink(source.height, source.width) for _ in range(2))
        segment_source(source, whole.segmenter, Sinks(mask, confidence), whole.calibration, whole.settings)
    return evaluate_masks(mask.pixels_hw, read_mask(dataset.mask_path(entry)), esd_of(bundle)).counts
