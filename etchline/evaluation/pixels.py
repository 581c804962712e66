"""Agreement of two masks pixel by pixel."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class PixelCounts:
    """Counts of pixels that pool by addition; positive means metal.

    Attributes:
        true_positive: metal in both.
        false_positive: metal in the prediction only.
        false_negative: metal in the truth only.
        true_negative: metal in neither.
    """

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0

    def __add__(self, other: Self) -> "PixelCounts":
        return PixelCounts(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
            self.true_negative + other.true_negative,
        )

    @property
    def total(self) -> int:
        """All pixels."""
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative

    @property
    def pixel_accuracy(self) -> float | None:
        """Share of equal pixels; None where there are no pixels."""
        return (self.true_positive + self.true_negative) / self.total if self.total else None

    @property
    def dice(self) -> float | None:
        """2 TP / (2 TP + FP + FN); 1 where neither mask has metal (they agree); None without pixels."""
        wrong = self.false_positive + self.false_negative
        return _share(2 * self.true_positive, 2 * self.true_positive + wrong, self.total)

    @property
    def iou(self) -> float | None:
        """TP / (TP + FP + FN); 1 where neither mask has metal (they agree); None without pixels."""
        return _share(self.true_positive, self.total - self.true_negative, self.total)


def _share(part: int, whole: int, pixels: int) -> float | None:
    """A share of a whole; 1 where the whole is empty, None where there are no pixels at all."""
    if pixels == 0:
        return None
    return part / whole if whole else 1.0
