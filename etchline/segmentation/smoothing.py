"""Smoothing that is matched to the noise and follows the lines."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from etchline.errors import SettingsError

FloatArray = npt.NDArray[np.float32]

# OpenCV cuts a Gaussian of float pixels at four standard deviations.
CUT = 4


@dataclass(frozen=True)
class SmoothingSettings:
    """How much is smoothed, and in which shape. Grey levels are 0 to 255.

    Attributes:
        residual_noise: noise that may be left, in grey levels.
        least_px: least standard deviation.
        most_px: largest one, for noisy images.
        along: factor on the standard deviation along lines.
        across: factor on it across lines.
        window: reach, in standard deviations, within which a line's direction is judged.

    Raises:
        SettingsError: a value is not positive.
    """

    residual_noise: float = 2.0
    least_px: float = 0.7
    most_px: float = 4.0
    along: float = 2.5
    across: float = 0.7
    window: float = 1.5

    def __post_init__(self) -> None:
        for name in ("residual_noise", "least_px", "most_px", "along", "across", "window"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"smoothing {name}={getattr(self, name)}: must be positive")

    @property
    def halo_px(self) -> int:
        """Rows of context that a smoothed row can depend on."""
        direction = int(CUT * self.most_px) + int(CUT * self.window * self.most_px) + 3
        return max(direction, int(CUT * self.along * self.most_px) + 1)

    def for_noise(self, noise: float) -> "Smoothing":
        """The smoothing that leaves `residual_noise` of white noise of standard deviation `noise`."""
        # A round Gaussian leaves s / (2 sqrt(pi) sigma) of white noise s.
        sigma_px = float(
            np.clip(noise / (2 * np.sqrt(np.pi) * self.residual_noise), self.least_px, self.most_px)
        )
        return Smoothing(sigma_px, self)


@dataclass(frozen=True)
class Smoothing:
    """A smoothing that is ready to use.

    Attributes:
        sigma_px: standard deviation before the factors along and across.
        settings: see `SmoothingSettings`.
    """

    sigma_px: float
    settings: SmoothingSettings

    def residual(self, noise: float) -> float:
        """An upper estimate of what is left of white noise `noise`: that of a round Gaussian."""
        return float(noise / (2 * np.sqrt(np.pi) * self.sigma_px))

    def apply(self, level_hw: FloatArray) -> FloatArray:
        """`level_hw` smoothed along the local direction of lines, which run along x or y; float32 (H, W).

        Chips are routed on a grid, so two directions are enough: each pixel is a mix of a smoothing along x
        and one along y, by where the brightness changes more.
        """
        along_px = max(self.settings.least_px, self.sigma_px * self.settings.along)
        across_px = max(self.settings.least_px, self.sigma_px * self.settings.across)
        along_x = cv2.GaussianBlur(level_hw, (0, 0), sigmaX=along_px, sigmaY=across_px)
        along_y = cv2.GaussianBlur(level_hw, (0, 0), sigmaX=across_px, sigmaY=along_px)
        share_x = self._share_along_x(level_hw)
        along_x -= along_y
        along_x *= share_x
        along_x += along_y
        return np.asarray(along_x, np.float32)

    def _share_along_x(self, level_hw: FloatArray) -> FloatArray:
        """How much each pixel belongs to a line along x, 0 to 1."""
        round_hw = cv2.GaussianBlur(level_hw, (0, 0), self.sigma_px)
        reach_px = self.settings.window * self.sigma_px
        slope_x = cv2.GaussianBlur(cv2.Sobel(round_hw, cv2.CV_32F, 1, 0) ** 2, (0, 0), reach_px)
        slope_y = cv2.GaussianBlur(cv2.Sobel(round_hw, cv2.CV_32F, 0, 1) ** 2, (0, 0), reach_px)
        slope_x *= slope_x
        slope_y *= slope_y
        # The small number decides flat areas: half and half would be 0 / 0 there.
        return np.asarray((slope_y + np.float32(1e-6)) / (slope_x + slope_y + np.float32(2e-6)), np.float32)
