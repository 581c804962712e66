"""The parity gate: an engine must give what torch gives before it enters a bundle, or serves.

Both engines see the same views with the same prompts; masks and scores are compared view by view. On a
dataset's validation images whole results are compared as well, by their errors against the truth. Limits
are on the mean IoU of the masks, on the worst of them, on the rise of ESD, and on the scores, which choose
the mask and stand in answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from etchline.backends.delegating import DelegatingBackend
from etchline.backends.interface import (
    Backend,
    Float32Array,
    Inference,
    Int32Array,
    Role,
    Uint8Array,
)
from etchline.evaluation import EsdCounts
from etchline.segmentation.probability import binarise_probability

LARGE_MASK_PX = 500
"""Of smaller masks the worst IoU is not judged: one pixel is too much of them."""

EsdVerdict = Literal["passed", "failed", "too few lines"]


@dataclass(frozen=True)
class ParityLimits:
    """What counts as equal.

    Attributes:
        least_mean_iou: of the masks of each role.
        least_worst_iou: of each mask of more than 500 px: one wrong mask of hundreds hardly moves the mean.
            Pixels at the threshold may flip. Of the smallest such mask 0.99 is 5 pixels, where none or one
            was seen in float32, and 0.95 is 25: a rim's worth, less than any gap or bridge of a line.
        most_score_difference: of any view, in units of the score.
        most_rise_points: of ESD, in percentage points; one error more is always allowed.
        least_lines: fewer cannot show that ESD does not rise.
    """

    least_mean_iou: float = 0.999
    least_worst_iou: float = 0.99
    most_score_difference: float = 1e-3
    most_rise_points: float = 0.05
    least_lines: int = 2000


FLOAT32 = ParityLimits()
REDUCED = ParityLimits(least_mean_iou=0.99, least_worst_iou=0.95, most_score_difference=0.02)
"""For engines of less than float32 precision."""


@dataclass(frozen=True)
class ViewParity:
    """One view, by two engines.

    Attributes:
        role: of the network.
        iou: of the two masks; 1 where both are empty.
        area_px: of the reference's mask.
        score_difference: absolute.
    """

    role: Role
    iou: float
    area_px: int
    score_difference: float


@dataclass(frozen=True)
class RoleParity:
    """All views of a role.

    Attributes:
        masks: how many.
        mean_iou: over all masks.
        worst_iou: over masks of more than 500 px; `None` where there are none.
        large_masks: how many these are.
        score_difference: the greatest; not a number where a score is none.
    """

    masks: int
    mean_iou: float
    worst_iou: float | None
    large_masks: int
    score_difference: float


@dataclass(frozen=True)
class EsdParity:
    """Errors of whole results.

    Attributes:
        lines: true lines that count.
        reference_errors: by torch.
        candidate_errors: by the engine.
        allowed_rise: errors that the engine may have more.
        verdict: "failed" where it has more than that, otherwise "too few lines" where so few show nothing.
    """

    lines: int
    reference_errors: int
    candidate_errors: int
    allowed_rise: float
    verdict: EsdVerdict


@dataclass(frozen=True)
class ParityVerdict:
    """Whether an engine gives what torch gives.

    Attributes:
        candidate: what was judged; see `Backend.name`.
        reference: what it was compared with.
        passed: it may be used.
        reasons: why it did not pass; empty if it did.
        notes: what the judgement does not cover.
        roles: the masks, by role.
        esd: `None` where no dataset was given, or the engine did not run.
        dataset_digest: of that dataset.
        limits: what counted as equal.
    """

    candidate: str
    reference: str
    passed: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    roles: Mapping[Role, RoleParity]
    esd: EsdParity | None
    dataset_digest: str | None
    limits: ParityLimits

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.reasons:
            return "; ".join(self.reasons)
        masks = sum(role.masks for role in self.roles.values())
        least = min(role.mean_iou for role in self.roles.values())
        esd = f"ESD {self.esd.verdict} on {self.esd.lines} lines" if self.esd else "ESD not compared"
        return f"{masks} masks, least mean IoU {least:.6f}, {esd}"

    def to_json(self) -> dict[str, Any]:
        """The verdict for JSON; not-a-number becomes null."""
        found: dict[str, Any] = _jsonable(asdict(self))
        return found


class ComparingBackend(DelegatingBackend):
    """A `Backend` that answers as the candidate does, and keeps how far the reference agrees.

    Args:
        candidate: the engine that is judged.
        reference: torch, as a rule.
    """

    def __init__(self, candidate: Backend, reference: Backend) -> None:
        super().__init__(candidate)
        self._reference = reference
        self.views: list[ViewParity] = []

    def infer(
        self, role: Role, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array
    ) -> Inference:
        """See `Backend.infer`."""
        found = self.asked.infer(role, images_bhw, points_xy, labels)
        expected = self._reference.infer(role, images_bhw, points_xy, labels)
        self.views.extend(_compare(role, found, expected))
        return found


def _compare(role: Role, found: Inference, expected: Inference) -> Iterable[ViewParity]:
    for index in range(len(expected.score_b)):
        own = binarise_probability(found.probability_bhw[index]) > 0
        other = binarise_probability(expected.probability_bhw[index]) > 0
        either, both = np.count_nonzero(own | other), np.count_nonzero(own & other)
        difference = abs(float(found.score_b[index]) - float(expected.score_b[index]))
        iou = float(both / either) if either else 1.0
        yield ViewParity(role, iou, int(np.count_nonzero(other)), difference)


def judge(
    names: tuple[str, str],
    views: Sequence[ViewParity],
    roles: Iterable[Role],
    errors: tuple[EsdCounts, EsdCounts] | None,
    *,
    dataset_digest: str | None,
    limits: ParityLimits,
) -> ParityVerdict:
    """The verdict on an engine.

    Args:
        names: of candidate and reference.
        views: compared views, of all roles.
        roles: those that the engine must have answered for; one without a view fails.
        errors: of whole results, by candidate and reference; `None` where nothing was segmented.
        dataset_digest: of the dataset that gave the images, if any.
        limits: what counts as equal.
    """
    found = {role: _role_parity([view for view in views if view.role == role]) for role in roles}
    esd = _esd_parity(*errors, limits) if errors else None
    reasons = [reason for role, parity in found.items() for reason in _role_reasons(role, parity, limits)]
    notes = [
        f"{role}: no mask of more than {LARGE_MASK_PX} px, so the worst one was not judged"
        for role, parity in found.items()
        if parity is not None and parity.worst_iou is None
    ]
    if esd is None:
        notes.append("ESD was not compared: no dataset was given")
    elif esd.verdict == "too few lines":
        notes.append(f"ESD: too few lines ({esd.lines}, at least {limits.least_lines} are needed)")
    elif esd.verdict == "failed":
        reasons.append(
            f"ESD rises from {esd.reference_errors} to {esd.candidate_errors} errors in {esd.lines} lines, "
            f"by more than {esd.allowed_rise:g}"
        )
    return ParityVerdict(
        candidate=names[0],
        reference=names[1],
        passed=not reasons,
        reasons=tuple(reasons),
        notes=tuple(notes),
        roles={role: parity for role, parity in found.items() if parity},
        esd=esd,
        dataset_digest=dataset_digest,
        limits=limits,
    )


def refused(names: tuple[str, str], reason: str, limits: ParityLimits) -> ParityVerdict:
    """The verdict on an engine that cannot even run."""
    return ParityVerdict(*names, False, (reason,), (), {}, None, None, limits)


def _role_parity(views: Sequence[ViewParity]) -> RoleParity | None:
    if not views:
        return None
    large = [view.iou for view in views if view.area_px > LARGE_MASK_PX]
    return RoleParity(
        masks=len(views),
        mean_iou=float(np.mean([view.iou for view in views])),
        worst_iou=min(large) if large else None,
        large_masks=len(large),
        # As numpy does it: a score that is not a number stays visible.
        score_difference=float(np.max([view.score_difference for view in views])),
    )


def _role_reasons(role: Role, parity: RoleParity | None, limits: ParityLimits) -> Iterable[str]:
    if parity is None:
        yield f"{role}: no view was compared"
        return
    if not parity.mean_iou >= limits.least_mean_iou:
        yield (
            f"{role}: mean IoU {parity.mean_iou:.6f} of {parity.masks} masks, below {limits.least_mean_iou:g}"
        )
    if parity.worst_iou is not None and not parity.worst_iou >= limits.least_worst_iou:
        yield (
            f"{role}: worst IoU {parity.worst_iou:.6f} of {parity.large_masks} masks of more than "
            f"{LARGE_MASK_PX} px, below {limits.least_worst_iou:g}"
        )
    if not parity.score_difference <= limits.most_score_difference:
        yield (
            f"{role}: scores differ by up to {parity.score_difference:.3g}, "
            f"more than {limits.most_score_difference:g}"
        )


def _esd_parity(candidate: EsdCounts, reference: EsdCounts, limits: ParityLimits) -> EsdParity:
    allowed = max(1.0, limits.most_rise_points / 100 * reference.lines)
    verdict: EsdVerdict = "passed"
    if candidate.errors - reference.errors > allowed:
        verdict = "failed"
    elif reference.lines < limits.least_lines:
        verdict = "too few lines"
    return EsdParity(reference.lines, reference.errors, candidate.errors, allowed, verdict)


def _jsonable(value: Any) -> Any:  # noqa: ANN401  (anything a dataclass may hold)
    if isinstance(value, Mapping):
        return {str(key): _jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(each) for each in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
