"""How much a cell can be trusted (for a pixel see `probability.pixel_confidence`).

A calibrated probability that no ESD error's witness pixels (open: the gap, short: the bridge, false positive
or negative: the component) lie in it: a logistic function of the cell's features; that of the classical
segmenter is fitted by `benchmarks/calibrate_classical.py`.

Of networks' results the features count as standard scores within the image: noise, or lines that are short
by design, raise them everywhere, and say more about the chip than about where an error is (docs/results.md).
What they are like in the image as a whole counts in one way: the less it is like the images that the
confidence was fitted on, the nearer its cells' confidences are to that of a chip of which nothing is known.
"""

import functools
import math
from collections.abc import Sequence
from importlib import resources
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy.optimize import minimize
from scipy.spatial import KDTree

from etchline.errors import SettingsError
from etchline.segmentation.cell_features import FEATURE_NAMES

CALIBRATION_FILE = "classical_calibration.json"


FloatArray = npt.NDArray[np.float64]

TYPICAL_CELLS = 20
"""Typical cells are added to an image's own, so that an image of few cells has a mean and a spread too."""

NOVELTY_WEIGHT = 0.3
"""Of `UNKNOWN_ODDS` per unit of an image's novelty, where the odds of its own cells weigh 1. Both were found
on mixed chips (docs/results.md): chips that the networks have learnt cannot tell what becomes of others."""

UNKNOWN_ODDS = 3.0
"""Log-odds of an error in a cell of a chip that is like none that the confidence was fitted on."""

MOST_IMAGES = 10_000
"""No more images are known to a confidence: a bound on what a bundle may bring."""

_SAME = 1e-9
# What a bundle brings must not overflow where it is squared or summed.
_MOST = 1e6
_Number = Annotated[float, Field(ge=-_MOST, le=_MOST)]
_Positive = Annotated[float, Field(ge=0.0, le=_MOST)]


class TypicalCells(BaseModel):
    """What features are like over many images.

    An image's place is, for each feature, the square root, with its sign, of the standard score of the mean
    over its cells: differences among common images count, the tails of rare ones do not count alone.

    Attributes:
        means: mean of each feature.
        spreads: its standard deviation.
        places: of the images, a row of f numbers each; none where images are not told apart.
        usual_distance: from an image to the next of the others, the median.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    means: tuple[_Number, ...]
    spreads: tuple[_Positive, ...]
    places: Annotated[tuple[tuple[_Number, ...], ...], Field(max_length=MOST_IMAGES)] = ()
    usual_distance: _Positive = 0.0

    @classmethod
    def of(cls, values_nf: FloatArray) -> "TypicalCells":
        """Of n cells, (n, f), at least one."""
        columns = values_nf.mean(0), values_nf.std(0)
        means, spreads = (tuple(round(float(value), 6) for value in column) for column in columns)
        return cls(means=means, spreads=spreads)

    def knowing(self, images: Sequence[FloatArray]) -> "TypicalCells":
        """The same with these images' places, features of all cells of each; one alone tells nothing."""
        if len(images) < 2:
            return self
        places = np.array([self._place(values_nf) for values_nf in images[:MOST_IMAGES]])
        distances, _ = KDTree(places).query(places, k=2)  # to itself and to the next
        rows = tuple(tuple(round(value, 4) for value in row) for row in places.tolist())
        usual_distance = round(float(np.median(distances[:, 1])), 4)
        return self.model_copy(update={"places": rows, "usual_distance": usual_distance})

    def without(self, image: int) -> "TypicalCells":
        """The same without the place of that image, from 0: what is known when it is judged by the others."""
        others = self.places[:image] + self.places[image + 1 :]
        return self.model_copy(update={"places": others})

    def novelty(self, values_nf: FloatArray) -> float:
        """How much further than usual an image lies from the one that is most like it; 0 where none is known.

        Images of fewer than about ten cells are hardly ever novel, as twenty typical ones are added.

        Args:
            values_nf: features of all n cells of the image, (n, f).
        """
        if not self.places:
            return 0.0
        distances = np.linalg.norm(np.array(self.places) - self._place(values_nf), axis=1)
        return max(0.0, float(distances.min()) - self.usual_distance)

    def standard_scores(self, values_nf: FloatArray) -> FloatArray:
        """How many standard deviations each feature lies above the image's mean, (n, f).

        Args:
            values_nf: features of all n cells of one image, (n, f).
        """
        own, weight, spreads = len(values_nf), TYPICAL_CELLS, np.array(self.spreads)
        squares_f = ((values_nf - values_nf.mean(0)) ** 2).sum(0) if own else np.zeros_like(spreads)
        spread_f = np.sqrt((squares_f + weight * spreads**2) / (own + weight))
        scores_nf: FloatArray = (values_nf - self._mean(values_nf)) / _or_endless(spread_f)
        return scores_nf

    def _mean(self, values_nf: FloatArray) -> FloatArray:
        mean_f: FloatArray = values_nf.sum(0) + TYPICAL_CELLS * np.array(self.means)
        return mean_f / (len(values_nf) + TYPICAL_CELLS)

    def _place(self, values_nf: FloatArray) -> FloatArray:
        score_f = (self._mean(values_nf) - np.array(self.means)) / _or_endless(np.array(self.spreads))
        place_f: FloatArray = np.sign(score_f) * np.sqrt(np.minimum(np.abs(score_f), _MOST**2))
        return place_f


def _or_endless(spread_f: FloatArray) -> FloatArray:
    """Without end where a feature has one value everywhere, but for rounding: it says nothing."""
    return np.where(spread_f > _SAME, spread_f, np.inf)


class CellCalibration(BaseModel):
    """A logistic function from a cell's features to its confidence, and the limit that flags.

    Attributes:
        schema_version: of the file; "schema" there.
        feature_names: the features in the order of `coefficients`: `FEATURE_NAMES`, or the first of them in
            what was made when there were fewer; the others count for nothing then.
        coefficients: log-odds of an error per unit of each feature; never negative, so that of two (with
            `typical`: of an image's) cells the one with more fragile places is never trusted more.
        intercept: log-odds of an error where all features, or their standard scores, are 0.
        flag_below: cells of lower confidence are flagged. Novelty does not count there: of a chip that nobody
            knows it would flag all, and nobody looks at most of a chip.
        fitted_on: what the numbers come from, for the reader.
        typical: where set, coefficients are for standard scores within the image, see `TypicalCells`.
        novelty_weight: of `unknown_odds` per unit of the image's novelty, beside 1 for the cell's own odds.
        unknown_odds: log-odds of an error where an image is beyond comparison.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Annotated[int, Field(alias="schema", ge=1, le=1)] = 1
    feature_names: tuple[str, ...]
    coefficients: tuple[_Positive, ...]
    intercept: _Number
    flag_below: Annotated[float, Field(ge=0.0, le=1.0)]
    fitted_on: str
    typical: TypicalCells | None = None
    novelty_weight: _Positive = 0.0
    unknown_odds: _Number = 0.0

    @model_validator(mode="after")
    def _names_match(self) -> "CellCalibration":
        features = len(self.feature_names)
        if not features or self.feature_names != FEATURE_NAMES[:features]:
            known, got = list(FEATURE_NAMES), list(self.feature_names)
            raise ValueError(f"feature_names must be {known} or the first of them, got {got}")
        if len(self.coefficients) != features:
            raise ValueError(f"{len(self.coefficients)} coefficients for {features} features")
        if self.typical is not None:
            rows = {"means": self.typical.means, "spreads": self.typical.spreads}
            rows |= {f"places.{index}": place for index, place in enumerate(self.typical.places)}
            for name, numbers in rows.items():
                if len(numbers) != features:
                    raise ValueError(f"typical.{name}: {len(numbers)} for {features} features")
        return self

    def confidences(self, values: Sequence[tuple[float, ...]], *, novel: bool = True) -> list[float]:
        """Probabilities, 0 to 1, that no ESD error lies in each of an image's cells.

        Args:
            values: features of all cells of one image.
            novel: the image's novelty counts; without it they say where to look, see `flag_below`.
        """
        if self.typical is None or not values:
            return [self.confidence(one) for one in values]
        foreign = self.novelty_weight * (self.novelty(values) or 0.0) if novel else 0.0
        scores_nf = self.typical.standard_scores(self._counted(values))
        return [self._from(tuple(row), foreign) for row in scores_nf.tolist()]

    def novelty(self, values: Sequence[tuple[float, ...]]) -> float | None:
        """See `TypicalCells.novelty`; `None` where no images are known, or no cells given.

        Args:
            values: features of all cells of one image.
        """
        if self.typical is None or not self.typical.places or not values:
            return None
        return self.typical.novelty(self._counted(values))

    def _counted(self, values: Sequence[tuple[float, ...]]) -> FloatArray:
        return np.array(values)[:, : len(self.feature_names)]

    def confidence(self, values: tuple[float, ...]) -> float:
        """That of a cell with these features which is its image's only one."""
        return self._from(values) if self.typical is None else self.confidences([values])[0]

    def _from(self, values: tuple[float, ...], foreign: float = 0.0) -> float:
        counted = values[: len(self.coefficients)]
        told = math.fsum(weight * value for weight, value in zip(self.coefficients, counted, strict=True))
        odds = (self.intercept + told + foreign * self.unknown_odds) / (1.0 + foreign)
        return 1.0 / (1.0 + math.exp(min(odds, 700.0)))  # exp overflows at 710


def parse_calibration(text: str, origin: str) -> CellCalibration:
    """A calibration from JSON.

    Raises:
        SettingsError: not JSON, an unknown or missing field, a number out of range, other features; the
            message names `origin`.
    """
    try:
        return CellCalibration.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise SettingsError(
            f"{origin}: not a cell calibration ({where}: {first['msg']}); "
            "write it with benchmarks/calibrate_classical.py"
        ) from error


@functools.cache
def default_calibration() -> CellCalibration:
    """The calibration of the classical segmenter that comes with the package."""
    text = resources.files("etchline.segmentation").joinpath(CALIBRATION_FILE).read_text(encoding="utf-8")
    return parse_calibration(text, CALIBRATION_FILE)


def fit_calibration(
    values_nf: npt.NDArray[np.float64],
    has_error_n: npt.NDArray[np.bool_],
    flag_below: float,
    fitted_on: str,
    *,
    typical: TypicalCells | None = None,
    ridge: float = 1.0,
) -> CellCalibration:
    """The calibration that makes the observed errors most likely (logistic regression, no negative weight).

    Args:
        values_nf: features of n cells, (n, f), as `CellFeatures.values`.
        has_error_n: whether an ESD error's witness pixels lie in the cell, (n,).
        flag_below: see `CellCalibration`.
        fitted_on: see `CellCalibration`.
        typical: likewise; `values_nf` are standard scores where it is given.
        ridge: weight of the squared coefficients against the log-likelihood summed over cells; it keeps a
            feature that occurs in a handful of cells from taking a huge weight.

    Raises:
        SettingsError: no cells, or all with or all without an error: nothing can be learnt.
    """
    target = has_error_n.astype(np.float64)
    if target.size == 0 or target.min() == target.max():
        raise SettingsError(
            f"{target.size} cells, {int(target.sum())} with an error: calibration needs cells of both kinds"
        )

    def loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        odds = weights[0] + values_nf @ weights[1:]
        value = float(np.logaddexp(0.0, odds).sum() - target @ odds + 0.5 * ridge * weights[1:] @ weights[1:])
        slope = 1.0 / (1.0 + np.exp(-np.clip(odds, -700.0, 700.0))) - target
        gradient = np.concatenate(([slope.sum()], values_nf.T @ slope + ridge * weights[1:]))
        return value, gradient

    features = values_nf.shape[1]
    bounds = [(None, None)] + [(0.0, None)] * features
    knows = typical is not None and bool(typical.places)
    found = minimize(loss, np.zeros(features + 1), jac=True, bounds=bounds, method="L-BFGS-B")
    return CellCalibration(
        feature_names=FEATURE_NAMES,
        coefficients=tuple(round(float(weight), 4) for weight in found.x[1:]),
        intercept=round(float(found.x[0]), 4),
        flag_below=flag_below,
        fitted_on=fitted_on,
        typical=typical,
        novelty_weight=NOVELTY_WEIGHT if knows else 0.0,
        unknown_odds=UNKNOWN_ODDS if knows else 0.0,
    )
