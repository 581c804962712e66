"""How networks are applied to an image."""

from dataclasses import dataclass, field

from etchline.backends.interface import Role
from etchline.errors import SettingsError
from etchline.segmentation.arbitration import ArbitrationLimits, Policy
from etchline.segmentation.confidence import CellCalibration
from etchline.segmentation.prompting import PromptSettings
from etchline.segmentation.scale import PitchRange, ScaleSettings

SMALLEST_SCALE, LARGEST_SCALE = 1 / 64, 64.0
"""Factors outside are slips of the hand: a view would be of one pixel, or of a whole chip."""
LEAST_VIEW_PX, LARGEST_VIEW_PX = 32, 2**20
"""Edges of full views; an image is cut into a million of smaller ones."""


@dataclass(frozen=True)
class NetworkSettings:
    """How networks are applied to an image.

    Attributes:
        policy: see `arbitration.decide`.
        limits: of the arbitration.
        min_overlap: least overlap of neighbouring views, as a share of a view.
        full_view_px: edge of the full model's views; `None`: the whole image is one view.
        prompt: of all views.
        trained_pitch: what the networks have learnt; `None` where nobody knows.
        scale: a factor for all images; `None`: estimated for each.
        scale_settings: of the estimate.
        patch_calibration: of the patch model's own results; policy `confidence` needs both, the fallback
            those of the roles that the policy asks.
        full_calibration: of the full model's.

    Raises:
        SettingsError: policy `confidence` without calibrations, or a factor out of range.
    """

    policy: Policy = "guarded"
    limits: ArbitrationLimits = field(default_factory=ArbitrationLimits)
    min_overlap: float = 0.1
    full_view_px: int | None = None
    prompt: PromptSettings = field(default_factory=PromptSettings)
    trained_pitch: PitchRange | None = None
    scale: float | None = 1.0
    scale_settings: ScaleSettings = field(default_factory=ScaleSettings)
    patch_calibration: CellCalibration | None = None
    full_calibration: CellCalibration | None = None

    def __post_init__(self) -> None:
        if self.policy == "confidence" and not (self.patch_calibration and self.full_calibration):
            raise SettingsError(
                "policy confidence: the bundle holds no calibration for both models; choose another policy"
            )
        if self.scale is not None and not SMALLEST_SCALE <= self.scale <= LARGEST_SCALE:
            raise SettingsError(f"scale {self.scale}: must be a factor of 1/64 to 64, or auto")

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that the policy asks."""
        if self.policy == "full" or self.policy == "patch":
            return (self.policy,)
        return ("full", "patch")
