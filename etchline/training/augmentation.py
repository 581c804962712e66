"""The six transforms that make few images go far: all of them or none, with one shared intensity.

Source: SAMSEM, section 3.4.3, which names Torchvision's transforms; these follow their documentation, on
grey images and with a generator of their own. The crop is taken from the native pixels and scaled to the
input at once, where Torchvision would scale twice.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from etchline.segmentation.resampling import stretch
from etchline.training.recipe import AugmentationSettings

Grey = npt.NDArray[np.uint8]
BoxXyxy = tuple[int, int, int, int]

_CROP_TRIES = 10  # Torchvision's


def prepare_sample(
    image_hw: Grey,
    mask_hw: Grey,
    input_px: int,
    settings: AugmentationSettings,
    rng: np.random.Generator,
) -> tuple[Grey, Grey]:
    """Image and mask as the network gets them, transformed or not: uint8, (input_px, input_px) each.

    Args:
        image_hw: normalised, uint8, (H, W), at least one pixel.
        mask_hw: 0 or 255, same shape; between the two where pixels of the input are shared.
        input_px: edge of the network's input.
        settings: how likely and how strong.
        rng: all chance comes from here.
    """
    if rng.random() >= settings.probability:
        return stretch(image_hw, input_px, input_px), stretch(mask_hw, input_px, input_px)
    if settings.intensity_min is not None:
        drawn = rng.uniform(settings.intensity_min, settings.intensity)
        settings = settings.model_copy(update={"intensity": drawn})
    x0, y0, x1, y1 = random_crop(image_hw.shape[0], image_hw.shape[1], settings, rng)
    image, mask = (stretch(part[y0:y1, x0:x1], input_px, input_px) for part in (image_hw, mask_hw))
    image = _blur(image, settings)
    image = _jitter(image, settings, rng)
    for axis, probability in enumerate(
        (settings.flip_vertical_probability, settings.flip_horizontal_probability)
    ):
        if rng.random() < probability * settings.intensity:
            image, mask = np.flip(image, axis), np.flip(mask, axis)
    return _noise(image, settings, rng), np.ascontiguousarray(mask)


def random_crop(height: int, width: int, settings: AugmentationSettings, rng: np.random.Generator) -> BoxXyxy:
    """`RandomResizedCrop`: a box of random area and aspect inside the image; the whole image if none fits."""
    largest = settings.crop_area_share_max
    smallest = largest - settings.crop_area_share_range * settings.intensity
    for _ in range(_CROP_TRIES):
        area = height * width * rng.uniform(smallest, largest)
        aspect = math.exp(rng.uniform(-1, 1) * math.log(settings.crop_aspect_max))
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            left = int(rng.integers(width - box_width + 1))
            top = int(rng.integers(height - box_height + 1))
            return left, top, left + box_width, top + box_height
    return 0, 0, width, height


def _blur(image_hw: Grey, settings: AugmentationSettings) -> Grey:
    sigma = settings.blur_sigma_px * settings.intensity
    blurred: Grey = cv2.GaussianBlur(
        image_hw, settings.blur_kernel_xy_px, sigma, borderType=cv2.BORDER_REFLECT_101
    )
    return blurred


def _jitter(image_hw: Grey, settings: AugmentationSettings, rng: np.random.Generator) -> Grey:
    """`ColorJitter`: brightness multiplies, contrast stretches about the mean; in random order."""
    brightness, contrast = (
        rng.uniform(max(0.0, 1 - share * settings.intensity), 1 + share * settings.intensity)
        for share in (settings.brightness_share, settings.contrast_share)
    )
    grey = image_hw.astype(np.float32)
    for kind in rng.permutation(2):
        if kind == 0:
            grey *= np.float32(brightness)
        else:
            mean = np.float32(grey.mean())
            grey = (grey - mean) * np.float32(contrast) + mean
        np.clip(grey, 0, 255, out=grey)
    return np.rint(grey).astype(np.uint8)


def _noise(image_hw: Grey, settings: AugmentationSettings, rng: np.random.Generator) -> Grey:
    sigma = np.float32(255 * settings.noise_sigma_share * settings.intensity)
    noisy = image_hw + sigma * rng.standard_normal(image_hw.shape, dtype=np.float32)
    rounded: Grey = np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)
    return rounded
