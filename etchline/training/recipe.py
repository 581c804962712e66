"""Recipes: everything that defines a training run, in one YAML file.

The defaults are the nano network's (`recipes/nano.yaml` says why each differs from the paper's);
`recipes/samsem_large.yaml` holds every value the paper published.

Source: SAMSEM (Gehrmann et al.), sections 3.4 and 3.5.
"""

import reprlib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from etchline.backends.turning import Orientations
from etchline.errors import SettingsError
from etchline.evaluation.gate.limits import GateLimits
from etchline.network.sizes import LARGEST_INPUT_PX
from etchline.segmentation.network_settings import LARGEST_VIEW_PX, LEAST_VIEW_PX
from etchline.segmentation.scale import PitchRange

MAX_RECIPE_BYTES = 2**20

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkSettings(_Settings):
    """Which network learns.

    Attributes:
        size: see `etchline.network.sizes`.
        input_px: edge of the input; `None`: the size's own. A patch is half as wide in native pixels.
        parts: the parts whose parameters change.
    """

    size: Literal["nano", "tiny", "small", "base_plus", "large"] = "nano"
    input_px: Annotated[int, Field(ge=1, le=LARGEST_INPUT_PX)] | None = None
    parts: tuple[Literal["image_encoder", "prompt_encoder", "mask_decoder"], ...] = Field(
        default=("image_encoder", "prompt_encoder", "mask_decoder"), min_length=1
    )

    @model_validator(mode="after")
    def _parts_are_unique(self) -> "NetworkSettings":
        if len(set(self.parts)) != len(self.parts):
            raise ValueError(f"parts {', '.join(self.parts)}: each part may be named once")
        return self


class SamplingSettings(_Settings):
    """What an epoch consists of.

    Attributes:
        by: "image": every training image is drawn equally often; "ic": every IC, then every image of it.
        samples_per_epoch: `None`: as many as the training images have patches (or views).
        batch_images: samples in a batch, of all processes together.
        full_view_px: edge of the squares that the full model sees, stretched to its input; `None`: the
            whole image whatever its aspect.
        min_overlap_share: least overlap of patches, and of views, in validation; share of their edge.
        patch_share: share of patches among the samples of a `single` model; the others are views.
        pitch_px: least and largest pitch of lines that is learnt: images whose lines measure finer or wider
            are resampled into it, as `segment --scale auto` does; `None`: images stay as they are.
    """

    by: Literal["image", "ic"] = "image"
    samples_per_epoch: Count | None = 800
    batch_images: Count = 8
    full_view_px: Annotated[int, Field(ge=LEAST_VIEW_PX, le=LARGEST_VIEW_PX)] | None = 384
    min_overlap_share: float = Field(default=0.1, ge=0, le=0.5)
    patch_share: Share = 0.5
    pitch_px: tuple[Positive, Positive] | None = (20.0, 32.0)

    @model_validator(mode="after")
    def _pitches_are_in_order(self) -> "SamplingSettings":
        if self.pitch_px is not None and self.pitch_px[0] > self.pitch_px[1]:
            raise ValueError(f"pitch_px={list(self.pitch_px)}: the least pitch comes first")
        return self

    @property
    def trained_pitch(self) -> PitchRange | None:
        """`pitch_px` as `segment` takes it."""
        return None if self.pitch_px is None else PitchRange(*self.pitch_px)


class AugmentationSettings(_Settings):
    """The six transforms, in their order, and how strong they are at an intensity of 1.

    Attributes:
        probability: how often a sample gets all six; otherwise it gets none.
        intensity: multiplies all of the strengths below; in (0, 1].
        intensity_min: where set, the intensity is drawn for each sample between this and `intensity`.
        crop_area_share_max: `RandomResizedCrop`, largest area kept.
        crop_area_share_range: how much smaller the area may be.
        crop_aspect_max: largest width over height of the crop; its inverse is the smallest.
        blur_kernel_xy_px: `GaussianBlur`, width and height of the kernel, odd.
        blur_sigma_px: its standard deviation.
        brightness_share: `ColorJitter`, the factor lies within 1 plus or minus this.
        contrast_share: likewise.
        flip_vertical_probability: top and bottom change places.
        flip_horizontal_probability: left and right change places.
        noise_sigma_share: `GaussianNoise`, standard deviation as a share of the grey range.
    """

    probability: Share = 0.385
    intensity: float = Field(default=0.61, gt=0, le=1)
    intensity_min: float | None = Field(default=None, gt=0, le=1)
    crop_area_share_max: float = Field(default=0.99, gt=0, le=1)
    crop_area_share_range: Share = 0.5
    crop_aspect_max: float = Field(default=4 / 3, ge=1, allow_inf_nan=False)
    blur_kernel_xy_px: tuple[Count, Count] = (5, 9)
    blur_sigma_px: Positive = 5.0
    brightness_share: NotNegative = 0.75
    contrast_share: NotNegative = 0.5
    flip_vertical_probability: Share = 0.5
    flip_horizontal_probability: Share = 0.5
    noise_sigma_share: NotNegative = 0.1

    @model_validator(mode="after")
    def _transforms_exist(self) -> "AugmentationSettings":
        if self.intensity_min is not None and self.intensity_min > self.intensity:
            raise ValueError(f"intensity_min={self.intensity_min} is above intensity={self.intensity}")
        if any(edge % 2 == 0 for edge in self.blur_kernel_xy_px):
            raise ValueError(f"blur_kernel_xy_px={self.blur_kernel_xy_px}: both must be odd")
        if self.crop_area_share_max - self.crop_area_share_range * self.intensity <= 0:
            raise ValueError(
                f"crop_area_share_range={self.crop_area_share_range}: nothing is left of "
                f"crop_area_share_max={self.crop_area_share_max} at intensity={self.intensity}"
            )
        return self


class LossSettings(_Settings):
    """`a * BCE + (1 - a) * Dice + i * IoU head + l * Betti`, the last in the Betti stage only.

    Attributes:
        alpha: `a`, the share of the binary cross entropy in the pixel loss.
        iou_weight: `i`, of the squared error of the masks' predicted IoU.
        betti_weight: `l`, of the Betti matching loss for each true feature.
        betti_filtration: "superlevel" takes lines as 4-connected; "sublevel" as 8-connected, as ESD does.
        betti_sphere: pads with background; without it sublevel misses lines at the border.
        betti_barcode_threshold: features of the prediction that live shorter are left alone if unmatched.
        betti_push_unmatched: unmatched features are pushed to 1 and 0, not only together.
        betti_crop_px: edge of the crop of the decoder's masks that the loss looks at.
        betti_masks: "best": of each image the mask with the best predicted IoU; "all": all three.
    """

    alpha: Share = 0.6
    iou_weight: NotNegative = 0.1
    betti_weight: Share = 0.375
    betti_filtration: Literal["superlevel", "sublevel", "bothlevels"] = "superlevel"
    betti_sphere: bool = False
    betti_barcode_threshold: Share = 0.345
    betti_push_unmatched: bool = True
    betti_crop_px: int = Field(default=64, ge=2)
    betti_masks: Literal["best", "all"] = "best"

    @model_validator(mode="after")
    def _borders_count(self) -> "LossSettings":
        if self.betti_filtration != "superlevel" and not self.betti_sphere:
            raise ValueError(
                f"betti_filtration={self.betti_filtration} misses lines at the border; set betti_sphere: true"
            )
        return self


class OptimiserSettings(_Settings):
    """The optimiser and its two stages: pixel losses first, then the Betti matching loss besides.

    Attributes:
        kind: "adamw" for all parameters, or "muon" for the image encoder's matrices and AdamW for the rest.
        pixel_epochs: epochs of the first stage.
        betti_epochs: epochs of the second, which starts from the best epoch of the first.
        pixel_learning_rate: highest rate of the first stage.
        betti_learning_rate: highest rate of the second.
        weight_decay: pulls parameters to 0, decoupled from the gradient.
        schedule: after the warm-up, "cosine" falls to 0 at the end of each stage, "constant" stays.
        warmup_steps: steps in which each stage's rate rises from 0.
        clip_norm: largest norm of the gradient.
    """

    kind: Literal["adamw", "muon"] = "muon"
    pixel_epochs: Count = 10
    betti_epochs: int = Field(default=4, ge=0)
    pixel_learning_rate: Positive = 2e-3
    betti_learning_rate: Positive = 5e-4
    weight_decay: NotNegative = 1e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = Field(default=40, ge=0)
    clip_norm: Positive = 1.0


class ValidationSettings(_Settings):
    """How epochs are judged: by ESD on whole images, as the bundle will segment them.

    Attributes:
        orientations: 2: each view is also shown turned by 180 degrees and the mean counts, here and in the
            bundle; fewer errors, but the networks take twice as long. 1: as in the paper.
        border_px: see `etchline.evaluation.EsdSettings`.
        min_area_px: likewise.
        spot_px: components no larger than this, both ways, with a mean probability below `spot_mean_below`
            are erased before; 0: none, as in the paper.
        spot_mean_below: see above.
        dead_after_epochs: the run stops after so many epochs in a row whose masks are all black or white.
    """

    orientations: Orientations = 2
    border_px: int = Field(default=15, ge=0)
    min_area_px: int = Field(default=15, ge=0)
    spot_px: int = Field(default=40, ge=0)
    spot_mean_below: Share = 0.8
    dead_after_epochs: Count = 1


class ComputeSettings(_Settings):
    """Where it runs; none of this changes what is learnt, beyond rounding.

    Attributes:
        device: "auto" (the GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: of the network's forward pass; weights and losses are float32.
        cpu_threads: threads of torch's CPU operations; on a busy machine two were up to 150 times slower than
            one.
        loader_processes: processes that prepare samples; 0: the training process itself.
        checkpoint_steps: steps between two checkpoints, besides one at each epoch's end.
    """

    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$")
    dtype: Literal["float32", "bfloat16"] = "float32"
    cpu_threads: Count = 1
    loader_processes: int = Field(default=0, ge=0, le=256)
    checkpoint_steps: Count = 500


class Recipe(_Settings):
    """Everything that defines a training run but the data and the first weights.

    `gate` changes nothing that is learnt: it says how good the result must be to be deployed.
    """

    seed: int = Field(default=0, ge=0, lt=2**63)
    network: NetworkSettings = NetworkSettings()
    sampling: SamplingSettings = SamplingSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    loss: LossSettings = LossSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    validation: ValidationSettings = ValidationSettings()
    compute: ComputeSettings = ComputeSettings()
    gate: GateLimits = GateLimits()

    @property
    def epochs(self) -> int:
        """Of both stages."""
        return self.optimiser.pixel_epochs + self.optimiser.betti_epochs

    def changed(self, section: str, **values: object) -> "Recipe":
        """The recipe with other values in one section; `None` keeps what is there.

        Raises:
            SettingsError: a value out of its range.
        """
        wanted = {name: value for name, value in values.items() if value is not None}
        content = self.model_dump()
        return _checked(content | {section: content[section] | wanted}, f"recipe {section}")

    def to_yaml(self) -> str:
        """The whole recipe, defaults too; `load_recipe` reads it back unchanged."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        return text


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key twice, of which PyYAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        mapping = super().construct_mapping(node, deep)  # refuses keys that cannot be counted
        for key, times in Counter(keys).items():
            if times > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", node.start_mark)
        return mapping


def load_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file; what it leaves out has the nano network's values.

    Raises:
        SettingsError: the file cannot be read, is no YAML, or a field is unknown or out of its range; the
            message names file, field and value.
    """
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise SettingsError(f"{path}: larger than {MAX_RECIPE_BYTES // 2**20} MiB; this is no recipe")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: no valid YAML ({error})") from error
    return parse_recipe(text, str(path))


def parse_recipe(text: str, origin: str = "recipe") -> Recipe:
    """The recipe in a YAML text; an empty one is that of the nano network.

    Args:
        text: YAML.
        origin: where it comes from, for messages.

    Raises:
        SettingsError: see `load_recipe`.
    """
    if len(text) > MAX_RECIPE_BYTES:
        raise SettingsError(f"{origin}: larger than {MAX_RECIPE_BYTES // 2**20} MiB; this is no recipe")
    try:
        content = yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, RecursionError, ValueError, AttributeError) as error:  # dates that are none, too
        raise SettingsError(f"{origin}: no valid YAML ({' '.join(str(error).split())})") from error
    return _checked({} if content is None else content, origin)


def _checked(content: object, origin: str) -> Recipe:
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        # Aliases can make a short text a value that fills the memory.
        given = first["input"] if isinstance(first["input"], str) else reprlib.repr(first["input"])
        value = "" if first["type"] in ("missing", "value_error") else f", got {given[:60]!r}"
        raise SettingsError(
            f"{origin}: {place + ': ' if place else ''}{first['msg']}{value}; see docs/training.md"
        ) from error
