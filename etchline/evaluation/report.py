"""The report of an evaluation as JSON; `report.schema.json` beside this file is its schema."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from etchline.evaluation.esd import EsdCounts, EsdError, EsdSettings
from etchline.evaluation.pixels import PixelCounts
from etchline.evaluation.pooling import (
    BOOTSTRAP_SAMPLES,
    BOOTSTRAP_SEED,
    ImageScore,
    Interval,
    Pool,
    macro_rate,
    pool,
    pool_by_ic,
    worst_group,
    worst_images,
)

SCHEMA = 1
LISTED_ERRORS = 100  # locations of one image in the JSON; the counts are complete
LISTED_IN_ALL = 50_000  # 300 bytes each, so that a report of many images can be read back

Json = dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """An image that could not be scored.

    Attributes:
        image: its key.
        message: why, naming the file.
    """

    image: str
    message: str


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Attributes:
        settings: what counted.
        scores: the images scored, by key in order.
        missing: keys of truths without prediction that were allowed to miss; they are not scored.
        surplus: predictions without truth, as paths relative to the prediction folder.
        failures: images that could not be scored.
    """

    settings: EsdSettings
    scores: tuple[ImageScore, ...]
    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()

    def to_json(self) -> Json:
        """The report as `report.schema.json` has it, ready for `json.dumps`."""
        total, by_ic = pool(self.scores), pool_by_ic(self.scores)
        worst = worst_group(by_ic)
        listed = _listed_errors(self.scores)
        return {
            "schema": SCHEMA,
            "settings": {
                **asdict(self.settings),
                "bootstrap_samples": BOOTSTRAP_SAMPLES,
                "bootstrap_seed": BOOTSTRAP_SEED,
            },
            "images": [_image_json(score, listed) for score in self.scores],
            "total": pool_json(total),
            "total_at_zero": {
                **_counts_json(total.at_zero),
                "rate_ci95": _interval_json(total.at_zero_ci95),
            },
            "per_ic": {ic: pool_json(each) for ic, each in by_ic.items()},
            "micro_rate": total.counts.rate,
            "macro_rate": macro_rate(by_ic.values()),
            "worst_ic": None if worst is None else {"ic": worst, "rate": by_ic[worst].counts.rate},
            "worst_images": [_rank_json(score) for score in worst_images(self.scores)],
            "missing": list(self.missing),
            "surplus": list(self.surplus),
            "failed": [asdict(failure) for failure in self.failures],
        }


def pool_json(images: Pool) -> Json:
    """Counts, rate, interval and pixel metrics of images taken together."""
    return {
        "images": images.images,
        **_counts_json(images.counts),
        "rate_ci95": _interval_json(images.rate_ci95),
        **_pixels_json(images.pixels),
    }


def _listed_errors(scores: Sequence[ImageScore]) -> int:
    """How many errors of an image are listed: as many of each that all together are not too many."""
    found = [len(score.errors) for score in scores]
    fitting = (
        most for most in range(LISTED_ERRORS, 0, -1) if sum(min(n, most) for n in found) <= LISTED_IN_ALL
    )
    return next(fitting, 0)


def _image_json(score: ImageScore, most: int) -> Json:
    listed = score.errors[:most]
    left_out = len(score.errors) - len(listed) + score.result.errors_left_out
    return {
        "image": score.image,
        "ic": score.ic,
        "split": score.split,
        **_counts_json(score.counts),
        **_pixels_json(score.result.pixels),
        "at_zero": _counts_json(score.result.at_zero),
        "errors": [_error_json(error) for error in listed],
        "errors_left_out": left_out,
    }


def _rank_json(score: ImageScore) -> Json:
    return {
        "image": score.image,
        "ic": score.ic,
        "errors": score.counts.errors,
        "lines": score.counts.lines,
        "rate": score.counts.rate,
    }


def _counts_json(counts: EsdCounts) -> Json:
    return {**asdict(counts), "rate": counts.rate}


def _interval_json(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _pixels_json(pixels: PixelCounts) -> Json:
    return {
        "pixel_accuracy": pixels.pixel_accuracy,
        "dice": pixels.dice,
        "iou": pixels.iou,
        "pixels": asdict(pixels),
    }


def _error_json(error: EsdError) -> Json:
    return {
        "kind": error.kind,
        "box_xyxy": list(error.box_xyxy),
        "seed_xy": list(error.seed_xy),
        "count": error.count,
    }
