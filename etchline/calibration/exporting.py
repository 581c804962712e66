"""What `etchline export` and `etchline tune` write: a training, or a bundle, calibrated."""

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from etchline import __version__
from etchline.backends.interface import Role, other_role
from etchline.bundle import (
    ArbitrationPart,
    Bundle,
    BundleManifest,
    ConfidencePart,
    ProvenancePart,
    ViewsPart,
)
from etchline.bundle.fetching import fetch_bundle
from etchline.bundle.judging import esd_of
from etchline.bundle.parity import ParityVerdict
from etchline.bundle.saving import BundleContents, contents_of, save_bundle
from etchline.bundle.staging import check_free
from etchline.bundle.torch_networks import load_networks
from etchline.calibration.calibrating import Calibration, calibrate, validation_entries
from etchline.calibration.candidates import best
from etchline.calibration.golden import choose_golden
from etchline.calibration.pitches import measure_pitches
from etchline.calibration.runs import Run, find_runs, load_network
from etchline.datasets import Dataset
from etchline.errors import BundleError, StorageError
from etchline.evaluation import EsdSettings
from etchline.network.line_network import LineNetwork
from etchline.processes import Steps, unseen_steps
from etchline.segmentation.confidence import default_calibration
from etchline.segmentation.scale import PitchRange

EngineName = Literal["onnx"]


@dataclass(frozen=True)
class ExportRequest:
    """One call of `etchline export`.

    Attributes:
        out_dir: what `etchline train` wrote.
        bundle_dir: becomes the bundle; does not exist, or is empty.
        dataset: its split val judges, its split train gives the trained pitch.
        name: the bundle's; by default that of its folder.
        jobs: processes; see `map_processes`.
        engine: also goes into the bundle, if it passes the parity gate.
        verify: its validation images judge the engine; `None`: drawn views and the golden patch only.
    """

    out_dir: Path
    bundle_dir: Path
    dataset: Dataset
    name: str | None = None
    jobs: int | None = None
    engine: EngineName | None = None
    verify: Dataset | None = None


@dataclass(frozen=True)
class Exported:
    """A written bundle.

    Attributes:
        bundle: it.
        calibration: what stands in it.
        warnings: what a person should know before using it.
        parity: the verdict on the engine that was asked for; one that did not pass is not in the bundle.
    """

    bundle: Bundle
    calibration: Calibration
    warnings: tuple[str, ...]
    parity: ParityVerdict | None = None


def export(request: ExportRequest, steps: Steps = unseen_steps) -> Exported:
    """The bundle of a training, calibrated on the dataset's validation images.

    The networks are measured as the bundle holds them, rounded to half precision. Where only one model went
    on learning from a bundle, that bundle's other model is measured beside it: what it knows of chips in
    general is worth a second opinion. A parent's full model that the winning policy does not ask is left out.

    Raises:
        BundleError: `bundle_dir` holds something.
        SettingsError: `out_dir` holds no run, or one without weights.
        DatasetError: no validation images, none with lines, or changed files.
        WeightsError: weights are not those of the recipe's network.
        OutputError: the bundle cannot be written.
    """
    check_free(request.bundle_dir)
    validation_entries(request.dataset)
    if request.verify is not None:
        validation_entries(request.verify)
    runs = find_runs(request.out_dir)
    other, warnings = _other_model(runs)
    contents = _uncalibrated(request, runs, other, steps)
    with tempfile.TemporaryDirectory(prefix="etchline-export-") as scratch:
        esd = next(iter(runs.values())).esd
        found = _measure(contents, Path(scratch) / "bundle", request, esd, steps)
        if other and other.role == "full" and found.arbitration.policy == "patch":
            warnings.append(_left_out(found))
            # Beside another model its confidence has features that it lacks alone.
            contents = _patch_alone(contents)
            found = _measure(contents, Path(scratch) / "alone", request, esd, steps)
        final = _calibrated(contents, found)
        if request.engine is None:
            bundle, parity = save_bundle(request.bundle_dir, final), None
        else:
            plain = save_bundle(Path(scratch) / "final", final)
            bundle, parity = _with_engine(plain, request, steps)
    return Exported(bundle, found, (*warnings, *_warnings(request, runs, bundle)), parity)


def _measure(
    contents: BundleContents, folder: Path, request: ExportRequest, esd: EsdSettings, steps: Steps
) -> Calibration:
    """What the contents are worth as a bundle in that folder holds them."""
    return calibrate(save_bundle(folder, contents), request.dataset, esd, jobs=request.jobs, steps=steps)


@dataclass(frozen=True)
class _OtherModel:
    """The model of a parent bundle that has not gone on learning.

    Attributes:
        role: its role.
        network: it.
        parent: what the bundle says of itself.
    """

    role: Role
    network: LineNetwork
    parent: BundleManifest


def _other_model(runs: dict[Role, Run]) -> tuple[_OtherModel | None, list[str]]:
    """The parent's other model, where only one has gone on learning; and warnings."""
    run = next(iter(runs.values()))
    if len(runs) > 1 or run.parent is None or run.parent_place is None:
        return None, []
    role = other_role(run.role)
    try:
        with tempfile.TemporaryDirectory(prefix="etchline-parent-") as scratch:
            parent = fetch_bundle(run.parent_place, Path(scratch) / "bundle")
            if parent.digest != run.parent:
                raise BundleError(f"{run.parent_place}: is another bundle now")
            if role not in parent.manifest.networks:
                return None, []
            return _OtherModel(role, load_networks(parent)[role], parent.manifest), []
    except (BundleError, StorageError) as error:
        return None, [f"the {role} model of the bundle that training began with cannot be kept: {error}"]


def _left_out(found: Calibration) -> str:
    """That the parent's full model is not worth its time, and by what."""
    beside = best([one for one in found.scored if one.candidate.policy != "patch"])
    alone = best([one for one in found.scored if one.candidate.policy == "patch"])
    return (
        f"the full model of the bundle that training began with is left out: policy patch has "
        f"{alone.counts.errors} errors on validation images without it, {beside.candidate.policy} "
        f"{beside.counts.errors} with it"
    )


def _patch_alone(contents: BundleContents) -> BundleContents:
    """The contents without the full model, which the policy does not ask."""
    recipe = {role: part for role, part in contents.provenance.recipe.items() if role != "full"}
    return replace(
        contents,
        networks={"patch": contents.networks["patch"]},
        arbitration=ArbitrationPart(policy="patch"),
        views=contents.views.model_copy(update={"full_view_px": None}),
        provenance=contents.provenance.model_copy(update={"recipe": recipe}),
    )


def tune_arbitration(
    bundle: Bundle,
    dataset: Dataset,
    out: Path | None,
    *,
    jobs: int | None = None,
    steps: Steps = unseen_steps,
) -> tuple[Calibration, Bundle | None]:
    """The best arbitration of a bundle's networks on a dataset, and the new bundle where `out` asks for it.

    The new bundle has the old one's networks, prompts, views and trained pitch, and the old one as parent.
    Its confidences are fitted anew, as they depend on the arbitration.

    Raises:
        BundleError: `out` holds something.
        DatasetError: see `calibrate`.
        OutputError: the bundle cannot be written.
    """
    if out is not None:
        check_free(out)
    found = calibrate(bundle, dataset, esd_of(bundle), jobs=jobs, steps=steps)
    if out is None:
        return found, None
    contents = contents_of(bundle)
    provenance = contents.provenance.model_copy(update={"parent": bundle.digest, "code_version": __version__})
    return found, save_bundle(out, replace(_calibrated(contents, found), provenance=provenance))


def pitch_range(pitches_px: list[float]) -> PitchRange | None:
    """From the least to the largest of the layers' pitches, in whole pixels; `None` where there are none.

    Also a layer whose pitch is measured wrongly belongs to it: lines with bright edges measure far too fine,
    and the networks have learnt them as they are. Leaving them out let `--scale auto` enlarge such images,
    which took their ESD from 5 to 145 %.
    """
    if not pitches_px:
        return None
    return PitchRange(float(max(math.floor(min(pitches_px)), 1)), float(math.ceil(max(pitches_px))))


def _with_engine(plain: Bundle, request: ExportRequest, steps: Steps) -> tuple[Bundle, ParityVerdict]:
    from etchline.bundle.adding import add_onnx  # needs the extra `onnx`, which other bundles do without

    added = add_onnx(plain, request.bundle_dir, request.verify, jobs=request.jobs, steps=steps)
    return added.bundle, added.parity


def _uncalibrated(
    request: ExportRequest, runs: dict[Role, Run], other: _OtherModel | None, steps: Steps
) -> BundleContents:
    """The bundle but for the arbitration, the confidence and the report."""
    first = next(iter(runs.values()))
    recipe = (runs.get("patch") or first).recipe
    sampling = recipe.sampling
    networks = {role: load_network(run) for role, run in runs.items()}
    provenance = _provenance(runs)
    if other:
        networks[other.role] = other.network
        theirs = other.parent.provenance.recipe
        of_other = {other.role: theirs[other.role]} if other.role in theirs else {}
        provenance = provenance.model_copy(update={"recipe": provenance.recipe | of_other})
    size = networks["patch" if "patch" in networks else "full"].size
    edge_px = size.patch_px if "patch" in networks else size.input_px
    views = ViewsPart(
        min_overlap=sampling.min_overlap_share,
        full_view_px=_full_view_px(runs, other),
        orientations=recipe.validation.orientations,
    )
    return BundleContents(
        name=request.name or request.bundle_dir.resolve().name,
        networks=networks,
        golden_patch_hw=choose_golden(request.dataset, edge_px, views, is_patch="patch" in networks),
        arbitration=ArbitrationPart(policy="guarded" if len(networks) > 1 else first.role),
        confidence=ConfidencePart(cells=default_calibration()),
        provenance=provenance,
        views=views,
        trained_pitch=sampling.trained_pitch
        or pitch_range(measure_pitches(request.dataset, jobs=request.jobs, steps=steps)),
    )


def _full_view_px(runs: dict[Role, Run], other: _OtherModel | None) -> int | None:
    """The edge of full views; that which the full model has learnt."""
    if other and other.role == "full":
        return other.parent.views.full_view_px
    return runs["full"].recipe.sampling.full_view_px if "full" in runs else None


def _provenance(runs: dict[Role, Run]) -> ProvenancePart:
    """Where the weights come from; where the roles differ, the patch model's counts."""
    main = runs.get("patch") or runs["full"]
    return ProvenancePart(
        code_version=__version__,
        dataset_digest=main.dataset_digest,
        parent=main.parent,
        recipe={role: run.recipe.model_dump(mode="json") for role, run in runs.items()},
    )


def _calibrated(contents: BundleContents, found: Calibration) -> BundleContents:
    return replace(
        contents, arbitration=found.arbitration, confidence=found.confidence, validation=found.report
    )


def _warnings(request: ExportRequest, runs: dict[Role, Run], bundle: Bundle) -> tuple[str, ...]:
    folders = {run.folder: run for run in runs.values()}  # a single run fills both roles
    found = [
        f"{run.folder}: its training is not finished (status {run.status}); its best epoch so far was taken"
        for run in folders.values()
        if run.status != "finished"
    ]
    found += [
        f"{run.folder}: trained on another dataset than {request.dataset.folder}; if validation images were "
        "among those it learnt from, the bundle is worse than it says"
        for run in folders.values()
        if run.dataset_digest != request.dataset.digest
    ]
    if bundle.manifest.trained_pitch is None:
        found.append(
            f"{request.dataset.folder}: no pitch found in its images of split train; "
            "segment --scale auto will flag every cell, use --scale 1"
        )
    return tuple(found)
