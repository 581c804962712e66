"""One image on its way through the networks: patches, full views, and the choice between them.

Source: SAMSEM, sections 3.2 and 3.6.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from etchline.backends.interface import Backend, Role, other_role
from etchline.images.source import WindowSource
from etchline.segmentation.arbitration import (
    ArbitrationLimits,
    Comparison,
    Evidence,
    Policy,
    Verdict,
    compare,
    decide,
)
from etchline.segmentation.asked_views import AskedViews
from etchline.segmentation.cell_features import ALONE, compare_lines, measure_cell, show_different_lines
from etchline.segmentation.false_metal import FalseMetal
from etchline.segmentation.familiarity import SPECKLED, mean_confidence, probed_patches
from etchline.segmentation.network_settings import NetworkSettings
from etchline.segmentation.normalise import Normalisation
from etchline.segmentation.probability import weigh_opinions
from etchline.segmentation.record import CellSource
from etchline.segmentation.scale import ScaleChoice
from etchline.segmentation.source_maps import SourceMaps
from etchline.segmentation.tiling import BoxXyxy, Patch
from etchline.segmentation.views import FieldLevels, KeptRows, blend

Uint8Array = npt.NDArray[np.uint8]

UNFAMILIAR = Verdict("classical", ("unfamiliar",))


class NetworkFit:
    """One image at one scale; see `network_segmenter.NetworkSegmenter`.

    Patches, their boxes and verdicts are counted in the resampled field; rows that come out are the image's.

    Attributes:
        normalisation: of the field.
        choice: of the scale.
    """

    def __init__(
        self,
        source: WindowSource,
        normalisation: Normalisation,
        choice: ScaleChoice,
        backend: Backend,
        settings: NetworkSettings,
    ) -> None:
        self.normalisation = normalisation
        self.choice = choice
        self._source = source
        self._settings = settings
        self._views = AskedViews(
            FieldLevels(source, normalisation, choice.factor),
            backend,
            settings.prompt,
            settings.full_view_px,
            settings.min_overlap,
        )
        self._levels = self._views.levels
        self._patch_px = self._views.patch_px
        self._patches = self._views.tiles("patch")
        self._maps = {role: self._views.map(role) for role in settings.roles}
        self._verdicts: dict[int, list[Verdict]] = {}
        self._decided: dict[int, list[Verdict]] = {}
        self._familiarity: float | None = None
        self._comparisons: dict[int, list[Comparison]] = {}
        self._different: dict[int, dict[int, tuple[tuple[float, ...], tuple[float, ...]]]] = {}
        self._of_models: dict[tuple[Role, int, int], dict[int, tuple[float, ...]]] = {}
        self._sources = SourceMaps(source, self._levels, self._maps)
        self._joined: KeptRows[np.uint8] = KeptRows(self._levels.native_height)
        probed = [patch.box_xyxy for row in probed_patches(self._patches) for patch in row]
        self._false_metal = FalseMetal(self._levels, choice.factor, probed)

    @property
    def scale(self) -> float:
        """Factor by which the image is resampled."""
        return self.choice.factor

    @property
    def second_opinion(self) -> float:
        """The say of the model that is not taken; none where only one is asked."""
        return self._settings.limits.second_opinion if len(self._settings.roles) > 1 else 0.0

    def describe(self) -> dict[str, float]:
        """The numbers for the record, after the last row; a pitch of 0 was not found."""
        numbers = Counter(verdict.source for row in self._verdicts.values() for verdict in row)
        found = {f"cells_{source}": float(numbers[source]) for source in ("full", "patch", "classical")}
        if self.choice.estimate:
            found["pitch_px"] = self.choice.estimate.pitch_px or 0.0
            found["pitch_certainty"] = self.choice.estimate.certainty
        if self.choice.doubted_factor is not None:
            found["doubted_scale"] = self.choice.doubted_factor
        if self._familiarity is not None:
            found["networks_confidence"] = self._familiarity
        return found

    def under(self, policy: Policy, limits: ArbitrationLimits) -> "NetworkFit":
        """The image at the same scale, arbitrated anew. What the networks answered is shared, now kept."""
        self._sources.keep()
        other = copy.copy(self)
        other._settings = replace(self._settings, policy=policy, limits=limits)
        other._verdicts, other._decided = {}, {}
        other._familiarity = None
        other._joined = KeptRows(other._levels.native_height)
        for role in other._settings.roles:
            if role not in self._maps:
                self._maps[role] = self._views.map(role)
        return other

    def sources(self) -> tuple[CellSource, ...]:
        """What is taken for each patch, row by row; the other limits change what becomes of it."""
        return tuple(verdict.source for row in self._patches for verdict in self._row_verdicts(row[0].row))

    def own_values(self, role: Role) -> list[tuple[BoxXyxy, tuple[float, ...]]]:
        """Cell and features of one model's own result for each patch; policy `confidence` sees them so.

        Cells are in pixels of the image's field.
        """
        return [
            (self._levels.native_box(patch.cell_xyxy), values)
            for row in self._patches
            for patch, values in zip(row, self._measured(role, row, row), strict=True)
        ]

    def cells(self) -> list[list[Patch]]:
        """The patches with their cells, row by row, in pixels of the image's field; cells tile it.

        A cell that holds no pixel of the image (an image much reduced) is left out.
        """
        rows = []
        for row in self._patches:
            native = [
                Patch(
                    p.row, p.column, self._levels.native_box(p.box_xyxy), self._levels.native_box(p.cell_xyxy)
                )
                for p in row
            ]
            kept = [p for p in native if p.cell_xyxy[0] < p.cell_xyxy[2] and p.cell_xyxy[1] < p.cell_xyxy[3]]
            rows.extend([kept] if kept else [])
        return rows

    def verdict(self, patch: Patch) -> Verdict:
        """What was taken for a patch, and why it is flagged."""
        verdict = self._row_verdicts(patch.row)[patch.column]
        if self.choice.is_known:
            return verdict
        return Verdict(verdict.source, (*verdict.reasons, "unknown_scale"))

    def of_models(self, patch: Patch) -> tuple[float, ...]:
        """See `cell_features.MODEL_FEATURES`; the classical result's are not known."""
        row, verdicts = self._patches[patch.row], self._row_verdicts(patch.row)
        source = verdicts[patch.column].source
        if source == "classical":
            return ALONE
        alike = [other for other in row if verdicts[other.column].source == source]
        return self._compared(source, row, alike)[patch.column]

    def rows(self, top: int, bottom: int) -> Uint8Array:
        """The probabilities of image rows [top, bottom), which lie in the field; not to be written to."""
        first, last = self._source.field_rows
        # Whether a component is false shows within this reach.
        reach = self._false_metal.reach_px(self._settings.limits)
        upper, lower = max(top - reach, first), min(bottom + reach, last)
        self._forget(upper - first)
        map_hw = self._joined.rows(upper - first, lower - first, self._join)
        if reach:
            map_hw = map_hw.copy()  # a kept map stays as it is
            self._false_metal.erase(map_hw, upper - first, self._settings.limits)
        return map_hw[top - upper : bottom - upper]

    def _join(self, top: int, bottom: int) -> Uint8Array:
        """Field rows [top, bottom) of what was taken for each patch, blended at borders between sources."""
        parts: list[tuple[BoxXyxy, CellSource]] = []
        for row in self._patches:
            y0, y1 = (self._levels.native_box(row[0].box_xyxy)[edge] for edge in (1, 3))
            if y0 < bottom and top < y1:
                verdicts = self._row_verdicts(row[0].row)
                boxes = (self._levels.native_box(patch.box_xyxy) for patch in row)
                parts.extend((box, v.source) for box, v in zip(boxes, verdicts, strict=True))
        maps = {source: self._rows_of(source, top, bottom) for source in {source for _, source in parts}}
        if len(maps) == 1:
            return next(iter(maps.values()))
        pieces = [(box, _piece(maps[source], box, top, bottom)) for box, source in parts]
        return blend(pieces, top, bottom, self._source.width)

    def _row_verdicts(self, row: int) -> list[Verdict]:
        if row not in self._verdicts:
            self._verdicts[row] = (
                [UNFAMILIAR] * len(self._patches[row]) if self.is_unfamiliar else self._decided_row(row)
            )
        return self._verdicts[row]

    @property
    def is_unfamiliar(self) -> bool:
        """Whether the networks know the image too little, so that the classical result is taken for it."""
        limit = self._settings.limits.fallback_below
        known = self.familiarity() if limit else None
        return known is not None and known < limit

    def familiarity(self) -> float | None:
        """How like the image is to what the networks have learnt, 0 to 1; `None` without calibrations.

        The mean calibrated confidence of what the policy takes in patches spread over the image.
        """
        if self._familiarity is None:
            self._familiarity = self._mean_confidence()
        return self._familiarity

    def _mean_confidence(self) -> float | None:
        settings = self._settings
        by_role = {"patch": settings.patch_calibration, "full": settings.full_calibration}
        calibrations = {role: by_role[role] for role in settings.roles}
        if None in calibrations.values():
            return None

        def confidences(patches: list[Patch]) -> Iterator[float]:
            row = self._patches[patches[0].row]
            decided = self._decided_row(patches[0].row)
            for role, calibration in calibrations.items():
                assert calibration is not None  # asked for above
                chosen = [patch for patch in patches if decided[patch.column].source == role]
                yield from map(calibration.confidence, self._measured(role, row, chosen))
            yield from (SPECKLED for patch in patches if decided[patch.column].source == "classical")

        return mean_confidence(self._patches, confidences)

    def _decided_row(self, row: int) -> list[Verdict]:
        if row not in self._decided:
            self._decided[row] = self._judge(self._patches[row])
        return self._decided[row]

    def _judge(self, patches: list[Patch]) -> list[Verdict]:
        """The verdicts on one row of patches.

        The patch model is judged by its own answer for the patch, as in the paper, the full model by its map.
        """
        settings = self._settings
        if len(settings.roles) == 1:
            return [Verdict(settings.roles[0])] * len(patches)
        row = patches[0].row
        if row not in self._comparisons:
            pairs = zip(self._own_maps("patch", patches), self._own_maps("full", patches), strict=True)
            self._comparisons[row] = [compare(patch_hw, full_hw) for patch_hw, full_hw in pairs]
        evidence = [comparison.evidence(settings.limits) for comparison in self._comparisons[row]]
        if settings.policy == "confidence":
            evidence = self._with_confidences(evidence, patches)
        return [decide(settings.policy, known, settings.limits) for known in evidence]

    def _with_confidences(self, evidence: list[Evidence], patches: list[Patch]) -> list[Evidence]:
        """Both confidences where the models show different lines; elsewhere it is the same which is taken."""
        by_patch, by_full = self._settings.patch_calibration, self._settings.full_calibration
        assert by_patch is not None  # the settings refuse the policy without
        assert by_full is not None
        known = list(evidence)
        for column, (own, other) in self._values_of_different(patches).items():
            ours, theirs = by_patch.confidence(own), by_full.confidence(other)
            known[column] = replace(known[column], patch_confidence=ours, full_confidence=theirs)
        return known

    def _values_of_different(
        self, patches: list[Patch]
    ) -> dict[int, tuple[tuple[float, ...], tuple[float, ...]]]:
        """By column, the features of both models' results where these are different lines."""
        row = patches[0].row
        if row not in self._different:
            compared = self._compared("patch", patches, patches)
            chosen = [patch for patch in patches if show_different_lines(compared[patch.column])]
            pairs = zip(*(self._measured(role, patches, chosen) for role in ("patch", "full")), strict=True)
            self._different[row] = dict(zip([patch.column for patch in chosen], pairs, strict=True))
        return self._different[row]

    def _measured(self, role: Role, row: list[Patch], chosen: list[Patch]) -> list[tuple[float, ...]]:
        """The features of one model's results for some patches of a row."""
        if not chosen:
            return []
        maps, compared = self._own_maps(role, row), self._compared(role, row, chosen)
        return [
            measure_cell(maps[patch.column], self._levels.read(patch.box_xyxy), compared[patch.column]).values
            for patch in chosen
        ]

    def _compared(self, role: Role, row: list[Patch], chosen: list[Patch]) -> dict[int, tuple[float, ...]]:
        """By column, how one model's results for patches of a row compare with the other's, and their scores.

        What was compared before is among them, whether chosen or not.
        """
        known = self._of_models.setdefault((role, row[0].row, len(self._settings.roles)), {})
        new = [patch.column for patch in chosen if patch.column not in known]
        if new:
            other = other_role(role)
            own_maps = self._own_maps(role, row)
            other_maps = self._own_maps(other, row) if other in self._settings.roles else own_maps
            scores = self._own_scores(role, row)
            for column in new:
                known[column] = compare_lines(own_maps[column], other_maps[column], scores[column])
        return known

    def _own_scores(self, role: Role, patches: list[Patch]) -> list[float]:
        """One model's scores for a row of patches: of the full model's views the lowest that a patch sees."""
        views = self._maps[role]
        if role == "patch":
            return [answer.score for answer in views.answers(patches[0].row)]
        return [min(answer.score for answer in views.touching(patch.box_xyxy)) for patch in patches]

    def _own_maps(self, role: Role, patches: list[Patch]) -> list[Uint8Array]:
        """One model's results for one row of patches."""
        if role == "patch":
            return [answer.probability_hw for answer in self._maps["patch"].answers(patches[0].row)]
        _, y0, _, y1 = patches[0].box_xyxy
        full_hw = self._maps["full"].rows(y0, y1)
        return [np.ascontiguousarray(full_hw[:, p.box_xyxy[0] : p.box_xyxy[2]]) for p in patches]

    def _rows_of(self, source: CellSource, top: int, bottom: int) -> Uint8Array:
        """Field rows [top, bottom) as they are where a source is taken, in the image's pixels."""
        if source == "classical":
            return self._sources.rows(source, top, bottom)
        # What the patch model said where another result is taken must not show in overlaps as its own.
        own_hw = (
            self._sources.blended(source, top, bottom, self._is_from_patch)
            if source == "patch"
            else self._sources.rows(source, top, bottom)
        )
        if not self.second_opinion:
            return own_hw
        other_hw = self._sources.rows(other_role(source), top, bottom)
        return weigh_opinions(own_hw, other_hw, self.second_opinion)

    def _is_from_patch(self, patch: Patch) -> bool:
        return self._row_verdicts(patch.row)[patch.column].source == "patch"

    def _forget(self, top: int) -> None:
        """Drops answers that no row from field row `top` on needs."""
        if self._sources.keeps:
            return
        self._joined.forget(top)
        self._false_metal.forget(top)
        down = self._levels.height / self._levels.native_height
        for views in self._maps.values():
            # Judging a row of patches needs the full map from the row's first row on.
            views.forget(int(top * down) - self._patch_px - 1)


def _piece(map_hw: Uint8Array, box_xyxy: BoxXyxy, top: int, bottom: int) -> Uint8Array:
    """The part of rows [top, bottom) that lies in the box."""
    x0, y0, x1, y1 = box_xyxy
    return map_hw[max(y0, top) - top : min(y1, bottom) - top, x0:x1]
