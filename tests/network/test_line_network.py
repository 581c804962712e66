import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from dataclasses import replace  # noqa: E402

from etchline.network.line_network import LineNetwork  # noqa: E402
from etchline.network.parts import ENCODERS, PARTS, parse_parts, train_only  # noqa: E402
from etchline.network.sizes import SIZES  # noqa: E402

NANO = SIZES["nano"]


@pytest.fixture(scope="module")
def nano():
    torch.manual_seed(0)
    return LineNetwork(NANO).eval()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("points", [1, 5])
def test_shapes_follow_from_the_size(nano, batch, points):
    image = torch.randint(0, 256, (batch, 256, 256), dtype=torch.uint8)
    logits, iou = nano(
        image, torch.full((batch, points, 2), 30.0), torch.ones(batch, points, dtype=torch.int32)
    )
    assert logits.shape == (batch, 3, 64, 64)
    assert iou.shape == (batch, 3)
    assert ((iou >= 0) & (iou <= 1)).all()


@pytest.mark.parametrize("input_px", [64, 128, 320])
def test_other_inputs_need_no_other_code(input_px):
    size = replace(NANO, input_px=input_px)
    logits, _ = LineNetwork(size)(
        torch.zeros(1, input_px, input_px), torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.int32)
    )
    assert logits.shape[-1] == size.logit_px


def test_images_of_a_batch_do_not_mix(nano):
    images = torch.randint(0, 256, (2, 256, 256), dtype=torch.uint8)
    points, labels = torch.tensor([[[10.0, 20.0]], [[200.0, 40.0]]]), torch.ones(2, 1, dtype=torch.int32)
    with torch.inference_mode():
        both, _ = nano(images, points, labels)
        second, _ = nano(images[1:], points[1:], labels[1:])
    assert torch.allclose(both[1:], second, atol=1e-4)


def test_the_type_of_the_pixels_does_not_matter(nano):
    image = torch.randint(0, 256, (1, 256, 256), dtype=torch.uint8)
    points, labels = torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.int32)
    with torch.inference_mode():
        assert torch.equal(nano(image, points, labels)[0], nano(image.float(), points, labels)[0])


def test_prompts_reach_the_masks(nano):
    image = torch.zeros(1, 256, 256)
    labels = torch.tensor([[1]], dtype=torch.int32)
    with torch.inference_mode():
        here = nano(image, torch.tensor([[[10.0, 10.0]]]), labels)[0]
        there = nano(image, torch.tensor([[[240.0, 10.0]]]), labels)[0]
        nowhere = nano(image, torch.tensor([[[10.0, 10.0]]]), -labels)[0]
    assert not torch.equal(here, there)
    assert not torch.equal(here, nowhere)


# sam2's own predictor uses calls that torch and numpy have deprecated.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_it_is_sam2_without_the_video():
    """The same weights give the logits of sam2's own image predictor."""
    from sam2.build_sam import build_sam2
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    from etchline.network.weights import assign_weights

    torch.manual_seed(1)
    official = build_sam2(
        "configs/sam2.1/sam2.1_hiera_t.yaml", None, device="cpu", apply_postprocessing=False
    )
    ours = LineNetwork(SIZES["tiny"]).eval()
    assign_weights(ours, official.state_dict(), "sam2")
    grey = np.random.default_rng(0).integers(0, 256, (1024, 1024), dtype=np.uint8)
    predictor = SAM2ImagePredictor(official)
    predictor.set_image(np.repeat(grey[:, :, None], 3, axis=2))
    _, iou, logits = predictor.predict(np.array([[300.0, 500.0]]), np.array([1]), multimask_output=True)
    with torch.inference_mode():
        own_logits, own_iou = ours(
            torch.from_numpy(grey)[None],
            torch.tensor([[[300.0, 500.0]]]),
            torch.ones(1, 1, dtype=torch.int32),
        )
    assert np.allclose(own_iou[0], iou, atol=1e-4)
    assert np.allclose(np.clip(own_logits[0], -32, 32), logits, atol=1e-3)


@pytest.mark.parametrize(
    "parts", [(), *[(p,) for p in PARTS], PARTS[:2], PARTS[1:], (PARTS[0], PARTS[2]), PARTS]
)
def test_every_row_of_the_papers_ablation(parts):
    """Gradients reach the chosen parts and no others (SAMSEM, Table 2)."""
    network = LineNetwork(NANO)
    count = train_only(network, parts)
    assert count.trainable == sum(p.numel() for p in network.parameters() if p.requires_grad)
    if parts:
        logits, iou = network(
            torch.rand(1, 256, 256) * 255, torch.tensor([[[9.0, 9.0]]]), torch.ones(1, 1, dtype=torch.int32)
        )
        (logits.sum() + iou.sum()).backward()
    reached = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    expected = {"image_encoder": {"image_encoder", "no_mem_embed"}, "prompt_encoder": {"sam_prompt_encoder"}}
    expected["mask_decoder"] = {"sam_mask_decoder"}
    assert reached == {name for part in parts for name in expected[part]}


def test_encoders_only_is_segsems_choice():
    assert parse_parts("prompt_encoder, image_encoder") == ENCODERS


@pytest.mark.parametrize("text", ["", "encoder", "image_encoder,decoder"])
def test_unknown_parts(text):
    from etchline.errors import SettingsError

    with pytest.raises(SettingsError, match="choose from image_encoder, prompt_encoder, mask_decoder"):
        parse_parts(text)
