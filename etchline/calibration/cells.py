"""Cells whose errors are known, and how well a confidence tells which cells hold them."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from etchline.datasets import Dataset, ImageEntry
from etchline.errors import SettingsError
from etchline.evaluation import EsdSettings
from etchline.evaluation.witness import find_witnesses
from etchline.images import ArraySink, open_image, read_mask
from etchline.segmentation.cell_features import FEATURE_NAMES
from etchline.segmentation.confidence import CellCalibration, TypicalCells, fit_calibration
from etchline.segmentation.files import SegmentBundle
from etchline.segmentation.record import CellSource
from etchline.segmentation.segmenter import Sinks, segment_source
from etchline.segmentation.tiling import BoxXyxy

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

CATCH_SHARE = 0.9
"""Flags shall hold this share of the errors."""
FLAGGED_SHARE = 0.15
"""But no more than this share of the cells is flagged to hold them: nobody looks at most of a chip."""
BINS = 10
_DIGITS = 6
# Where nothing can be learnt of errors, a cell is flagged if an error is more likely than not.
EVEN = 0.5


@dataclass(frozen=True)
class MeasuredCell:
    """One cell of an image.

    Attributes:
        image: the image's path in its dataset.
        ic: its IC.
        values: see `CellFeatures.values`.
        errors: which of the image's witnesses lie in it, wholly or in part; numbers from 1.
        reasons: why it is flagged already, whatever its confidence.
        source: what was taken.
    """

    image: str
    ic: str
    values: tuple[float, ...]
    errors: tuple[int, ...]
    reasons: tuple[str, ...] = ()
    source: CellSource = "classical"


@dataclass(frozen=True)
class Cells:
    """Many cells.

    Attributes:
        values_nf: features, (n, f).
        image_n: the image that each is of.
        group_n: what a fit must not have seen to judge the cell: its IC; its image if all have one IC.
        grouped_by: "ic" or "image"; `None` where there is one group only.
        flagged_n: whether a cell is flagged whatever its confidence.
        pairs_k2: (error, cell) of each error in each cell that it lies in, errors numbered from 0.
    """

    values_nf: FloatArray
    image_n: npt.NDArray[np.str_]
    group_n: npt.NDArray[np.str_]
    grouped_by: str | None
    flagged_n: BoolArray
    pairs_k2: npt.NDArray[np.int64]

    def group_of(self, entry: ImageEntry) -> str:
        """The group that an image's cells are in."""
        return entry.ic if self.grouped_by == "ic" else entry.image

    @property
    def has_error_n(self) -> BoolArray:
        """Whether an error lies in the cell."""
        found = np.zeros(len(self.values_nf), np.bool_)
        found[self.pairs_k2[:, 1]] = True
        return found

    @property
    def errors(self) -> int:
        """Errors that lie in a cell."""
        return len(np.unique(self.pairs_k2[:, 0]))

    def caught(self, flagged_n: BoolArray) -> float | None:
        """Share of the errors that a flagged cell holds; `None` where there are none."""
        held = np.unique(self.pairs_k2[flagged_n[self.pairs_k2[:, 1]], 0])
        return len(held) / self.errors if self.errors else None


@dataclass(frozen=True)
class Reliability:
    """What a confidence is worth on cells that it was not fitted on.

    Attributes:
        cells: how many.
        wrong_cells: those with an error.
        errors: the errors; one may lie in several cells.
        flag_below: cells of lower confidence, novelty not counted, are flagged.
        flagged_share: share of the cells that are.
        caught_share: share of the errors that lie in them; `None` without errors.
        flagged_share_all: share flagged for any reason.
        caught_share_all: share of the errors in those.
        calibration_error: expected calibration error, ten bins.
        brier: mean squared error of the confidence.
        cross_validated_by: a cell was judged by a fit without its "ic" or "image"; `None`: by one with it.
            Novelty is that among all other images, those of its IC too: so chips that are known are judged.
    """

    cells: int
    wrong_cells: int
    errors: int
    flag_below: float
    flagged_share: float
    caught_share: float | None
    flagged_share_all: float
    caught_share_all: float | None
    calibration_error: float
    brier: float
    cross_validated_by: str | None

    def to_json(self) -> dict[str, Any]:
        """As it stands in a bundle's validation report; shares to six digits."""
        values = dataclasses.asdict(self)
        return {name: round(v, _DIGITS) if isinstance(v, float) else v for name, v in values.items()}


def measure_cells(
    entry: ImageEntry, dataset: Dataset, bundle: SegmentBundle, esd: EsdSettings
) -> list[MeasuredCell]:
    """The cells of an image, segmented as `etchline segment` does it."""
    with open_image(dataset.image_path(entry)) as source:
        mask, confidences = (ArraySink(source.height, source.width) for _ in range(2))
        sinks = Sinks(mask, confidences)
        result = segment_source(source, bundle.segmenter, sinks, bundle.calibration, bundle.settings)
    errors_hw = find_errors(mask.pixels_hw, read_mask(dataset.mask_path(entry)), esd)
    cells = []
    for cell in result.cells:
        others = tuple(reason for reason in cell.reasons if reason != "low_confidence")
        errors = errors_in(errors_hw, cell.box_xyxy)
        cells.append(MeasuredCell(entry.image, entry.ic, cell.features.values, errors, others, cell.source))
    return cells


def find_errors(
    pred_hw: npt.NDArray[Any], truth_hw: npt.NDArray[Any], esd: EsdSettings
) -> npt.NDArray[np.int32]:
    """The errors' witnesses, those of each component with a number of its own from 1, (H, W); 0 elsewhere."""
    return find_witnesses(pred_hw, truth_hw, esd).groups_hw


def errors_in(errors_hw: npt.NDArray[np.int32], box_xyxy: BoxXyxy) -> tuple[int, ...]:
    """The numbers of the errors that lie in a box of the image, wholly or in part."""
    x0, y0, x1, y1 = box_xyxy
    found = np.unique(errors_hw[y0:y1, x0:x1])
    return tuple(int(number) for number in found[found > 0])


def pool_cells(cells: Iterable[MeasuredCell]) -> Cells:
    """The cells of many images, whatever order they come in.

    Raises:
        SettingsError: there are none.
    """
    rows = sorted(cells, key=lambda cell: cell.image)
    if not rows:
        raise SettingsError("no cells to calibrate on; give images that are not empty")
    by_ic = len({cell.ic for cell in rows}) > 1
    groups = np.array([cell.ic if by_ic else cell.image for cell in rows])
    one_group = len(np.unique(groups)) == 1
    numbers: dict[tuple[str, int], int] = {}
    pairs = [
        (numbers.setdefault((cell.image, error), len(numbers)), index)
        for index, cell in enumerate(rows)
        for error in cell.errors
    ]
    return Cells(
        values_nf=np.array([cell.values for cell in rows]),
        image_n=np.array([cell.image for cell in rows]),
        group_n=groups,
        grouped_by=None if one_group else "ic" if by_ic else "image",
        flagged_n=np.array([bool(cell.reasons) for cell in rows]),
        pairs_k2=np.array(pairs, np.int64).reshape(-1, 2),
    )


def fit_cells(cells: Cells, origin: str, *, relative: bool = False) -> tuple[CellCalibration, Reliability]:
    """The calibration that all cells give, with its `flag_limit`, and what it is worth.

    The limit comes from the cross-validated confidences, without novelty. Where all cells are right, or all
    are wrong, the calibration is their base rate, and says so in `fitted_on`.

    Args:
        cells: of all images.
        origin: what they come from, for the reader.
        relative: whether features count as standard scores within their image, see `TypicalCells`.
    """
    fits = held_out_fits(cells, relative=relative)
    confidence_n, own_n = (_judged(cells, fits, novel=novel) for novel in (True, False))
    flag_below = flag_limit(own_n, cells)
    calibration = _fit(cells, np.ones(len(cells.image_n), np.bool_), flag_below, origin, relative)
    return calibration, reliability(confidence_n, cells, flag_below, own_n)


def held_out_fits(cells: Cells, *, relative: bool = False) -> dict[str, CellCalibration]:
    """By group, a calibration that has not seen it; one that has where there is one group."""
    fits = {}
    for group in np.unique(cells.group_n):
        held = cells.group_n == group
        fits[str(group)] = _fit(cells, ~held if cells.grouped_by else held, EVEN, "held out", relative)
    return fits


def cross_validated(cells: Cells, *, relative: bool = False) -> FloatArray:
    """The confidence of each cell by a fit on the other groups; by a fit on all where there is one group."""
    return _judged(cells, held_out_fits(cells, relative=relative), novel=True)


def _judged(cells: Cells, fits: Mapping[str, CellCalibration], *, novel: bool) -> FloatArray:
    """The confidence of each cell by the fit of its group; `novel`: its image's novelty counts."""
    confidence_n = np.empty(len(cells.image_n))
    for number, own in enumerate(_by_image(cells.image_n)):
        fit = fits[str(cells.group_n[own[0]])]
        if fit.typical is not None:
            # Only the image itself: what others of its chip are like is known when the bundle is used.
            fit = fit.model_copy(update={"typical": fit.typical.without(number)})
        values = list(map(tuple, cells.values_nf[own].tolist()))
        confidence_n[own] = fit.confidences(values, novel=novel)
    return confidence_n


def _by_image(image_n: npt.NDArray[np.str_]) -> list[npt.NDArray[np.int64]]:
    """The indices of each image's cells, images in the order of their names."""
    _, starts = np.unique(np.sort(image_n), return_index=True)
    return np.split(np.argsort(image_n, kind="stable"), starts[1:])


def _fit(cells: Cells, seen_n: BoolArray, flag_below: float, origin: str, relative: bool) -> CellCalibration:
    """The calibration that some cells give: those of whole images. Where all images lie, it knows of all."""
    values_nf, has_error_n = cells.values_nf[seen_n], cells.has_error_n[seen_n]
    wrong, total = int(has_error_n.sum()), len(has_error_n)
    if 0 < wrong < total:
        typical = TypicalCells.of(values_nf) if relative else None
        if typical:
            values_nf = values_nf.copy()
            for own in _by_image(cells.image_n[seen_n]):
                values_nf[own] = typical.standard_scores(values_nf[own])
            typical = typical.knowing([cells.values_nf[own] for own in _by_image(cells.image_n)])
        return fit_calibration(values_nf, has_error_n, flag_below, origin, typical=typical)
    # Laplace's rule: what was never seen is not impossible.
    odds = math.log((wrong + 1) / (total - wrong + 1))
    return CellCalibration(
        feature_names=FEATURE_NAMES,
        coefficients=(0.0,) * len(FEATURE_NAMES),
        intercept=round(odds, 4),
        flag_below=flag_below,
        fitted_on=f"{origin}; one confidence for all: {wrong} of {total} cells have an error",
    )


def flag_limit(confidence_n: FloatArray, cells: Cells) -> float:
    """The lowest limit with 90 % of the errors in a cell below it; 0.5 without errors.

    Where that would flag more than 15 % of the cells it is the limit that flags these, or 0.5, whichever is
    higher: errors that the networks are sure of cannot be found by flagging nearly everything. Cells that are
    flagged for another reason count as flagged.
    """
    if not cells.errors:
        return EVEN
    confidence_n = np.where(cells.flagged_n, 0.0, confidence_n)
    lowest = np.full(int(cells.pairs_k2[:, 0].max()) + 1, np.inf)
    np.minimum.at(lowest, cells.pairs_k2[:, 0], confidence_n[cells.pairs_k2[:, 1]])
    last = np.sort(lowest)[math.ceil(CATCH_SHARE * len(lowest) - 1e-9) - 1]
    most = np.sort(confidence_n)[math.ceil(FLAGGED_SHARE * len(confidence_n)) - 1]
    just_above: float = (math.floor(min(last, max(most, EVEN)) * 10.0**_DIGITS) + 1) / 10.0**_DIGITS
    return min(just_above, 1.0)


def reliability(
    confidence_n: FloatArray, cells: Cells, flag_below: float, own_n: FloatArray | None = None
) -> Reliability:
    """What these confidences are worth with this limit; flags go by `own_n` where it is given."""
    right_n = ~cells.has_error_n
    flagged_n = (confidence_n if own_n is None else own_n) < flag_below
    flagged_all_n = flagged_n | cells.flagged_n
    return Reliability(
        cells=len(confidence_n),
        wrong_cells=int(cells.has_error_n.sum()),
        errors=cells.errors,
        flag_below=flag_below,
        flagged_share=float(flagged_n.mean()),
        caught_share=cells.caught(flagged_n),
        flagged_share_all=float(flagged_all_n.mean()),
        caught_share_all=cells.caught(flagged_all_n),
        calibration_error=calibration_error(confidence_n, right_n),
        brier=float(np.mean((confidence_n - right_n) ** 2)),
        cross_validated_by=cells.grouped_by,
    )


def calibration_error(confidence_n: FloatArray, right_n: BoolArray) -> float:
    """Expected calibration error over ten bins of equal width."""
    bins = np.minimum((confidence_n * BINS).astype(int), BINS - 1)
    gaps = [
        abs(confidence_n[bins == index].mean() - right_n[bins == index].mean()) * (bins == index).mean()
        for index in np.unique(bins)
    ]
    return float(sum(gaps))


def origin_of(entries: Sequence[ImageEntry], dataset: Dataset) -> str:
    """What cells come from, for `CellCalibration.fitted_on`."""
    ics = sorted({entry.ic for entry in entries})
    splits = sorted({entry.split for entry in entries})
    return (
        f"cells of {len(entries)} images ({', '.join(splits)}; {', '.join(ics)}); "
        f"dataset digest {dataset.digest[:16]}"
    )
