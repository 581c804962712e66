"""The network's sizes: SAM2.1's own four, and a small one that learns on a CPU."""

from dataclasses import dataclass
from typing import Literal, get_args

from etchline.errors import SettingsError

SizeName = Literal["nano", "tiny", "small", "base_plus", "large"]

# Hiera halves the resolution at its patch embedding twice over, then at each of two more stages that the
# mask decoder reads from; one stage more is computed and thrown away ("scalp").
EMBEDDING_STRIDE = 16
INPUT_STRIDE = 32
LARGEST_INPUT_PX = 2048
"""Twice SAM2's: attention grows with the input's fourth power."""


@dataclass(frozen=True)
class NetworkSize:
    """What a network is built from. Sizes of features follow from it and are nowhere written down.

    Attributes:
        name: see `SizeName`.
        input_px: edge of the square input image.
        embed_dim: channels of Hiera's first stage.
        num_heads: attention heads of the first stage.
        stages: blocks of each stage.
        global_att_blocks: blocks that attend to the whole image and not to a window.
        window_spec: edge of the attention windows of each stage, in tokens.
        background_size: edge of the position embedding that is interpolated to the image.
        d_model: channels of neck, prompt encoder and mask decoder.
        mlp_dim: hidden channels of the mask decoder's transformer.
        decoder_heads: attention heads of that transformer.
        object_scores: whether the mask decoder has SAM2.1's object score head; official weights bring it.

    Raises:
        SettingsError: `input_px` is no multiple of 32.
    """

    name: SizeName
    input_px: int
    embed_dim: int
    num_heads: int
    stages: tuple[int, int, int, int]
    global_att_blocks: tuple[int, ...]
    window_spec: tuple[int, int, int, int]
    background_size: int
    d_model: int
    mlp_dim: int
    decoder_heads: int
    object_scores: bool

    def __post_init__(self) -> None:
        if self.input_px <= 0 or self.input_px % INPUT_STRIDE:
            raise SettingsError(
                f"network size {self.name}: input_px={self.input_px} must be a multiple of {INPUT_STRIDE}"
            )

    @property
    def patch_px(self) -> int:
        """Edge of a patch in native pixels: patches are enlarged twice."""
        return self.input_px // 2

    @property
    def embedding_px(self) -> int:
        """Edge of the image embedding."""
        return self.input_px // EMBEDDING_STRIDE

    @property
    def logit_px(self) -> int:
        """Edge of the masks that the decoder gives, before they are enlarged to the input."""
        return 4 * self.embedding_px


def _official(
    name: SizeName,
    embed_dim: int,
    num_heads: int,
    stages: tuple[int, int, int, int],
    global_att_blocks: tuple[int, ...],
    window_spec: tuple[int, int, int, int] = (8, 4, 14, 7),
    background_size: int = 7,
) -> NetworkSize:
    """A SAM2.1 network; numbers from the configurations that come with the `sam2` package."""
    return NetworkSize(
        name=name,
        input_px=1024,
        embed_dim=embed_dim,
        num_heads=num_heads,
        stages=stages,
        global_att_blocks=global_att_blocks,
        window_spec=window_spec,
        background_size=background_size,
        d_model=256,
        mlp_dim=2048,
        decoder_heads=8,
        object_scores=True,
    )


SIZES: dict[SizeName, NetworkSize] = {
    "nano": NetworkSize(
        name="nano",
        input_px=256,
        embed_dim=16,
        num_heads=1,
        stages=(2, 2, 4, 2),
        global_att_blocks=(5, 7),
        window_spec=(8, 4, 8, 4),
        background_size=8,
        d_model=48,
        mlp_dim=256,
        decoder_heads=4,
        object_scores=False,
    ),
    "tiny": _official("tiny", 96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "small": _official("small", 96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "base_plus": _official("base_plus", 112, 2, (2, 3, 16, 3), (12, 16, 20), background_size=14),
    "large": _official("large", 144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8)),
}


def network_size(name: str) -> NetworkSize:
    """The size of that name.

    Raises:
        SettingsError: there is no such size.
    """
    for known in get_args(SizeName):
        if name == known:
            return SIZES[known]
    raise SettingsError(f"network size {name}: choose one of {', '.join(get_args(SizeName))}")
