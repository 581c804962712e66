"""The published recipe against the paper's own words, and what is refused in a recipe file."""

import re
from pathlib import Path

import pytest
import yaml

from etchline.errors import SettingsError
from etchline.evaluation.gate import GateLimits
from etchline.training.recipe import Recipe, load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"

# (field, text of the paper with the value as its only group)
PUBLISHED = [
    ("network.size", r"we chose to focus on the (large) checkpoint"),
    ("sampling.batch_images", r"we set a fixed batch size of (12)"),
    ("sampling.min_overlap_share", r"cut out with at least (10 %) overlap"),
    ("augmentation.probability", r"probability of data augmentation being applied to be (38.5%)"),
    ("augmentation.intensity", r"the data augmentation intensity to be (0.61)"),
    ("augmentation.crop_area_share_range", r"scale = [0.99 - (0.5) · intensity, 0.99]"),
    ("augmentation.crop_area_share_max", r"scale = [0.99 - 0.5 · intensity, (0.99)]"),
    ("augmentation.blur_kernel_xy_px.0", r"GaussianBlur: kernel_size = ((5), 9)"),
    ("augmentation.blur_kernel_xy_px.1", r"GaussianBlur: kernel_size = (5, (9))"),
    ("augmentation.blur_sigma_px", r"sigma = (5.0) · intensity"),
    ("augmentation.brightness_share", r"brightness = (0.75) · intensity"),
    ("augmentation.contrast_share", r"contrast = (0.5) · intensity"),
    ("augmentation.flip_vertical_probability", r"RandomVerticalFlip: probability = (0.5) · intensity"),
    ("augmentation.flip_horizontal_probability", r"RandomHorizontalFlip: probability = (0.5) · intensity"),
    ("augmentation.noise_sigma_share", r"GaussianNoise: mean = 0.0, sigma = (0.5) · intensity, clip = True"),
    ("optimiser.pixel_learning_rate", r"we fix the learning rate at (1.111 · 10^-5)"),
    ("optimiser.betti_learning_rate", r"we fix the learning rate at (1.111 · 10^-5)"),
    ("optimiser.weight_decay", r"the weight decay at (2.059 · 10^-6)"),
    ("loss.alpha", r"a blending parameter value of α = (0.6)"),
    ("loss.betti_weight", r"we report λ = (0.375) as the blending parameter for L_seg"),
    ("loss.betti_filtration", r"we choose (sublevel) as the filtration_type"),
    ("loss.betti_barcode_threshold", r"(0.345) as the barcode_length_threshold"),
    ("optimiser.pixel_epochs", r"this fine-tuned model performs best after (35) training epochs"),
    ("optimiser.betti_epochs", r"The second hyperparameter optimization ran for (15) additional epochs"),
]


def published(quote):
    """The one value in a quote, as the group that is marked by the innermost or only brackets."""
    groups = re.findall(r"\(([^()]*)\)", quote)
    text = groups[0]
    if match := re.fullmatch(r"([\d.]+) · 10\^(-\d+)", text):
        return float(f"{match[1]}e{match[2]}")
    if match := re.fullmatch(r"([\d.]+) ?%", text):
        return pytest.approx(float(match[1]) / 100)
    return float(text) if re.fullmatch(r"[\d.]+", text) else text


def field(recipe, path):
    value = recipe
    for name in path.split("."):
        value = value[int(name)] if name.isdigit() else getattr(value, name)
    return value


@pytest.fixture(scope="module")
def samsem():
    return load_recipe(RECIPES / "samsem_large.yaml")


@pytest.mark.parametrize(("path", "quote"), PUBLISHED, ids=[path for path, _ in PUBLISHED])
def test_published_values(samsem, path, quote):
    assert field(samsem, path) == published(quote)


def test_published_statements(samsem):
    # "we decided to fine-tune the mask decoder, prompt encoder, and image encoder together"
    assert set(samsem.network.parts) == {"mask_decoder", "prompt_encoder", "image_encoder"}
    # "enabled pushing unmatched birth points to 1 and death points to 0 (`push_unmatched_to_1_0`)"
    assert samsem.loss.betti_push_unmatched
    # "bringing the total to up to 50 fine-tuning epochs per trial across both steps"
    assert samsem.epochs == 50
    # "L_seg = L_pixel + lambda * L_Betti", "L_pixel = alpha * L_BCE + (1 - alpha) * L_Dice": nothing else
    assert samsem.loss.iou_weight == 0
    # "we fine-tuned SAM2 by simply providing the original-size images"
    assert samsem.sampling.full_view_px is None
    # "three prediction masks for each image in the batch ... compute the loss between the ground truth and
    # the segmentation mask"
    assert samsem.loss.betti_masks == "all"
    # Torchvision's RandomResizedCrop has ratio=(3/4, 4/3) by default
    assert samsem.augmentation.crop_aspect_max == pytest.approx(4 / 3)


def test_the_published_file_spells_out_every_published_value():
    content = yaml.safe_load((RECIPES / "samsem_large.yaml").read_text())
    for path, _ in PUBLISHED:
        section, name, *_ = path.split(".")
        assert name in content[section]


def test_the_nano_recipe_is_the_default():
    assert load_recipe(RECIPES / "nano.yaml") == Recipe()


def test_every_deviation_of_nano_has_its_reason(samsem):
    """A line of nano.yaml whose value is not the published one ends in a comment (or follows from one)."""
    lines = (RECIPES / "nano.yaml").read_text().splitlines()
    nano, section = Recipe(), ""
    for line in lines:
        if match := re.match(r"(\w+):$", line):
            section = match[1]
        elif match := re.match(r"  (\w+):", line):
            path = f"{section}.{match[1]}"
            explained = " # " in line or path in EXPLAINED_BY_ANOTHER
            assert field(nano, path) == field(samsem, path) or explained, path


EXPLAINED_BY_ANOTHER = {
    "optimiser.weight_decay",  # the learning rate's
    "optimiser.warmup_steps",  # the schedule's
    "validation.min_area_px",  # the border's
}


def test_a_recipe_comes_back_from_its_own_yaml(tmp_path, samsem):
    (tmp_path / "r.yaml").write_text(samsem.to_yaml())
    assert load_recipe(tmp_path / "r.yaml") == samsem


def test_an_empty_file_is_the_default(tmp_path):
    (tmp_path / "r.yaml").write_text("")
    assert load_recipe(tmp_path / "r.yaml") == Recipe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("los: {}", r"r.yaml: los: Extra inputs are not permitted"),
        ("loss: {alpa: 1}", r"r.yaml: loss.alpa: Extra inputs"),
        ("loss: {alpha: 1.5}", r"loss.alpha: Input should be less than or equal to 1, got '1.5'"),
        ("loss: {betti_filtration: sublevel}", r"loss: .*misses lines at the border; set betti_sphere: true"),
        ("augmentation: {intensity: 0}", r"augmentation.intensity: .*greater than 0"),
        ("augmentation: {intensity_min: 0.7}", r"intensity_min=0.7 is above intensity=0.61"),
        ("augmentation: {blur_kernel_xy_px: [4, 9]}", r"blur_kernel_xy_px=\(4, 9\): both must be odd"),
        ("augmentation: {crop_area_share_range: 1, intensity: 1}", r"nothing is left of crop_area_share_max"),
        ("network: {parts: []}", r"network.parts: .*at least 1 item"),
        ("network: {parts: [mask_decoder, mask_decoder]}", r"each part may be named once"),
        ("network: {size: huge}", r"network.size: Input should be 'nano'.* got 'huge'"),
        ("optimiser: {pixel_learning_rate: .nan}", r"pixel_learning_rate: .*"),
        ("compute: {device: gpu}", r"compute.device: String should match pattern.* got 'gpu'"),
        ("gate: {rate_uper_max: 0.1}", r"r.yaml: gate.rate_uper_max: Extra inputs"),
        ("gate: {images_min: 0}", r"r.yaml: gate.images_min: .*greater than or equal to 1, got '0'"),
        ("seed: 1\nseed: 2", r"r.yaml: no valid YAML \(.*seed is given twice"),
        ("seed: 2024-13-45", r"r.yaml: no valid YAML \(month must be in 1..12"),
        ("seed: !!int abc", r"r.yaml: no valid YAML"),
        ("? [1]\n: 2", r"r.yaml: no valid YAML"),
        ("seed: &a [x]\nb: &b [*a, *a, *a, *a]\nc: [*b, *b, *b, *b]", r"r.yaml: b: Extra|r.yaml: seed: "),
        ("sampling: {full_view_px: 16}", r"sampling.full_view_px: .*greater than or equal to 32, got '16'"),
        ("network: {input_px: 4096}", r"network.input_px: .*less than or equal to 2048, got '4096'"),
        ("[", r"r.yaml: no valid YAML"),
        ("- 1", r"r.yaml: Input should be a valid dictionary"),
    ],
)
def test_bad_recipes_are_named(tmp_path, text, message):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_recipe(tmp_path / "r.yaml")


def test_unreadable_recipes(tmp_path):
    with pytest.raises(SettingsError, match=r"none.yaml: cannot be read \(No such file"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SettingsError, match=r"b.yaml: no valid YAML"):
        load_recipe(tmp_path / "b.yaml")
    (tmp_path / "big.yaml").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(SettingsError, match=r"big.yaml: larger than 1 MiB"):
        load_recipe(tmp_path / "big.yaml")


def test_limits_of_the_gate_are_a_section(tmp_path):
    (tmp_path / "r.yaml").write_text("gate: {lines_min: 300}")
    assert load_recipe(tmp_path / "r.yaml").gate == GateLimits(lines_min=300)


def test_changed():
    recipe = Recipe().changed("network", size="tiny", parts=None)
    assert recipe.network.size == "tiny"
    assert recipe.network.parts == Recipe().network.parts
    with pytest.raises(SettingsError, match=r"recipe network: network.size"):
        Recipe().changed("network", size="huge")
