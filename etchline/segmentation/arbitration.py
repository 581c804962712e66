"""Which model's result is taken for a patch, and how results are joined where the choice changes.

Source: SAMSEM, section 3.2.4 and figure 6. The figure leaves open what happens where neither result is
speckled and the two disagree; the policies differ there and in how far they trust the full model.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from etchline.errors import SettingsError
from etchline.segmentation.probability import LINE
from etchline.segmentation.record import CellSource, FlagReason
from etchline.segmentation.topology_kernel import label_runs, reached_steps

Policy = Literal["full", "patch", "paper", "guarded", "confidence"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

Uint8Array = npt.NDArray[np.uint8]

SPECKLE_PX = 16
_SET = reached_steps((1,))
REFERENCE_PX = 512
"""Limits on speckles are per square of this edge."""

_MOST_SPECKLES = 10**9  # none is speckled
_LARGEST_SPOT_PX = 1024
"""So many rows around a row of cells are in memory."""


@dataclass(frozen=True)
class ArbitrationLimits:
    """What counts as speckled and as agreement; the bundle's, the paper's by default.

    Attributes:
        patch_speckles: the patch model's result is speckled from this many speckles per 512 x 512 px on.
        full_speckles: the same for the full model's.
        agree_share: results agree if at least this share of their pixels is equal.
        guarded_agree_share: what policy `guarded` asks for before it takes the full model's result.
        spot_px: components of the joined result no larger than this, both ways, are erased, in pixels as the
            networks see them; 0: none, as in the paper.
        spot_mean_below: of these only the ones whose mean probability is lower; 1: all.
        fallback_below: where the networks' results have a lower mean confidence, the image is unlike what
            they have learnt and the classical result is taken for all of it; 0: never, as in the paper.
        second_opinion: how much the model that was not taken has a say: the share of its log odds in the
            result, where the taken one's have the rest; 0: none, as in the paper; 0.5: both count alike.
        edge_below: components of the joined result of at most 128 px both ways, as the networks see them, and
            a mean probability below 0.8 are erased where grey levels change less along their outline than
            this many times what they do in the plainest tenth of the image; 0: none, as in the paper.

    Raises:
        SettingsError: a limit on speckles below 1, a share outside its range, a negative size or multiple.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # it stands in bundle.json

    patch_speckles: int = 50
    full_speckles: int = 50
    agree_share: float = 0.6
    guarded_agree_share: float = 0.8
    spot_px: int = 0
    spot_mean_below: float = 1.0
    fallback_below: float = 0.0
    second_opinion: float = 0.0
    edge_below: float = 0.0

    def __post_init__(self) -> None:
        for name in ("patch_speckles", "full_speckles"):
            if not 1 <= getattr(self, name) <= _MOST_SPECKLES:
                raise SettingsError(
                    f"arbitration limit {name}={getattr(self, name)}: must lie in [1, {_MOST_SPECKLES}]"
                )
        for name in ("agree_share", "guarded_agree_share", "spot_mean_below", "fallback_below"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"arbitration limit {name}={getattr(self, name)}: must lie in [0, 1]")
        if not 0 <= self.second_opinion <= 0.5:
            raise SettingsError(
                f"arbitration limit second_opinion={self.second_opinion}: must lie in [0, 0.5]"
            )
        if not 0 <= self.spot_px <= _LARGEST_SPOT_PX:
            raise SettingsError(
                f"arbitration limit spot_px={self.spot_px}: must lie in [0, {_LARGEST_SPOT_PX}]"
            )
        if not 0 <= self.edge_below < float("inf"):
            raise SettingsError(
                f"arbitration limit edge_below={self.edge_below}: must be a finite number of 0 or more"
            )


@dataclass(frozen=True)
class Evidence:
    """What is known about the two results for one patch.

    Attributes:
        patch_speckled: whether the patch model's result is speckled.
        full_speckled: whether the full model's result is.
        equal_share: share of their pixels that are equal, 0 to 1.
        patch_confidence: calibrated confidence of the patch model's result; only policy `confidence` asks.
        full_confidence: of the full model's result.
    """

    patch_speckled: bool
    full_speckled: bool
    equal_share: float
    patch_confidence: float = 0.5
    full_confidence: float = 0.5


@dataclass(frozen=True)
class Verdict:
    """What is taken for a patch, and why a person must look at it (empty: need not)."""

    source: CellSource
    reasons: tuple[FlagReason, ...] = ()


def decide(policy: Policy, evidence: Evidence, limits: ArbitrationLimits) -> Verdict:
    """The result to take for one patch.

    `full` and `patch` ask nothing. The others take the classical result, flagged, where both are speckled.
    Else they take the patch model's where only the full model's is speckled, and where the two agree and
    neither is. What is left:

    | patch speckled | agree | `paper` | `guarded` |
    |---|---|---|---|
    | yes | yes | full | full, if they agree on `guarded_agree_share`; else patch, flagged |
    | yes | no | full | patch, flagged |
    | no | no | full | patch |

    `confidence` takes the result of higher confidence, the patch model's if they are equal.
    """
    if policy == "full" or policy == "patch":
        return Verdict(policy)
    if evidence.patch_speckled and evidence.full_speckled:
        return Verdict("classical", ("both_speckled",))
    if policy == "confidence":
        return Verdict("full" if evidence.full_confidence > evidence.patch_confidence else "patch")
    if evidence.full_speckled:
        return Verdict("patch")
    if policy == "guarded":
        if not evidence.patch_speckled:
            return Verdict("patch")
        trusted = evidence.equal_share >= limits.guarded_agree_share
        return Verdict("full") if trusted else Verdict("patch", ("models_disagree",))
    agree = evidence.equal_share >= limits.agree_share
    return Verdict("patch" if agree and not evidence.patch_speckled else "full")


@dataclass(frozen=True)
class Comparison:
    """What two results for one patch have in common, before any limit.

    Attributes:
        patch_speckles: speckles of the patch model's result.
        full_speckles: of the full model's.
        pixels: of the patch.
        equal_share: share of its pixels in which the masks are equal, 0 to 1.
    """

    patch_speckles: int
    full_speckles: int
    pixels: int
    equal_share: float

    def evidence(self, limits: ArbitrationLimits) -> Evidence:
        """The evidence, without confidences, under these limits."""
        return Evidence(
            patch_speckled=_reaches(self.patch_speckles, self.pixels, limits.patch_speckles),
            full_speckled=_reaches(self.full_speckles, self.pixels, limits.full_speckles),
            equal_share=self.equal_share,
        )


def compare(patch_hw: Uint8Array, full_hw: Uint8Array) -> Comparison:
    """The comparison of two probability maps of one patch, uint8 (H, W), not empty."""
    patch_mask_hw, full_mask_hw = patch_hw >= LINE, full_hw >= LINE
    return Comparison(
        patch_speckles=count_speckles(patch_mask_hw),
        full_speckles=count_speckles(full_mask_hw),
        pixels=patch_mask_hw.size,
        equal_share=int(np.count_nonzero(patch_mask_hw == full_mask_hw)) / patch_mask_hw.size,
    )


def _reaches(count: int, pixels: int, speckles: int) -> bool:
    """Whether a count is `speckles` per 512 x 512 px: at least 1, however few pixels there are."""
    return count >= max(speckles * pixels / REFERENCE_PX**2, 1.0)


def count_speckles(mask_hw: npt.NDArray[np.bool_]) -> int:
    """8-connected components of at most 16 px that do not touch the mask's edge.

    Components at the edge may be the ends of lines that the cut left; the paper counts them too.
    """
    if mask_hw.size == 0:
        return 0
    _, stats = label_runs(np.ascontiguousarray(mask_hw).view(np.uint8), _SET, 1)
    left, top, width, height, area = stats.T
    rows, columns = mask_hw.shape
    whole = (left > 0) & (top > 0) & (left + width < columns) & (top + height < rows)
    return int((whole & (area <= SPECKLE_PX)).sum())
