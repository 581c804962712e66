"""SAM2 for single images: image encoder, prompt encoder and mask decoder, without the video memory."""

from typing import NamedTuple

import torch
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from torch import Tensor, nn

from etchline.network.sizes import NetworkSize

# ImageNet's statistics, which SAM2 was trained with; grey images go to all three channels.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
# Masks the decoder proposes for a prompt; the one with the best predicted IoU is taken.
MASKS = 3


class Embedding(NamedTuple):
    """An encoded image: float (B, C, H, W), at 1/4, 1/8 and 1/16 of the input's size."""

    fine: Tensor
    middle: Tensor
    coarse: Tensor


class LineNetwork(nn.Module):
    """A SAM2 network that maps grey images and point prompts to mask logits.

    Its parameters carry the names of `sam2`'s own model, so official weights load without renaming.

    Args:
        size: see `NetworkSize`.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.size = size
        self.image_encoder = _image_encoder(size)
        self.sam_prompt_encoder = PromptEncoder(
            embed_dim=size.d_model,
            image_embedding_size=(size.embedding_px, size.embedding_px),
            input_image_size=(size.input_px, size.input_px),
            mask_in_chans=16,
        )
        self.sam_mask_decoder = _mask_decoder(size)
        # The video model adds this where there is no memory yet: on every single image.
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, size.d_model))
        nn.init.trunc_normal_(self.no_mem_embed, std=0.02)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor, points_xy: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 3, S/4, S/4) of three masks for each image and their predicted IoU (B, 3).

        Args:
            image: grey, (B, S, S), 0 to 255, any number type; S is `size.input_px`.
            points_xy: (B, N, 2) float, px of the input, pixel centres at whole numbers.
            labels: (B, N) int: 1 on a line, 0 on the background, -1 no point.
        """
        return self.decode(self.encode(image), points_xy, labels)

    def encode(self, image: Tensor) -> Embedding:
        """The image's embedding, see `forward`."""
        grey = image.to(self.no_mem_embed.dtype).unsqueeze(1) / 255
        features = self.image_encoder((grey - self.mean) / self.deviation)["backbone_fpn"]
        coarse = features[2] + self.no_mem_embed.view(1, -1, 1, 1)
        return Embedding(
            self.sam_mask_decoder.conv_s0(features[0]), self.sam_mask_decoder.conv_s1(features[1]), coarse
        )

    def decode(self, embedding: Embedding, points_xy: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and predicted IoU of the masks that the points ask for, see `forward`."""
        sparse, dense = self.sam_prompt_encoder(points=(points_xy, labels), boxes=None, masks=None)
        logits, iou, _, _ = self.sam_mask_decoder(
            image_embeddings=embedding.coarse,
            image_pe=self.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            repeat_image=False,
            high_res_features=[embedding.fine, embedding.middle],
        )
        return logits, iou


class _NoPositions(nn.Module):
    """Stands where the video memory would ask the neck for positions: nobody reads them here."""

    def forward(self, features: Tensor) -> Tensor:
        return features.new_empty(0)


def _image_encoder(size: NetworkSize) -> ImageEncoder:
    channels = [size.embed_dim * 2**stage for stage in range(len(size.stages))]
    return ImageEncoder(
        trunk=Hiera(
            embed_dim=size.embed_dim,
            num_heads=size.num_heads,
            stages=size.stages,
            global_att_blocks=size.global_att_blocks,
            window_spec=size.window_spec,
            window_pos_embed_bkg_spatial_size=(size.background_size, size.background_size),
        ),
        neck=FpnNeck(
            position_encoding=_NoPositions(),
            d_model=size.d_model,
            backbone_channel_list=channels[::-1],
            fpn_top_down_levels=[2, 3],
            fpn_interp_model="nearest",
        ),
        scalp=1,
    )


def _mask_decoder(size: NetworkSize) -> MaskDecoder:
    return MaskDecoder(
        num_multimask_outputs=MASKS,
        transformer=TwoWayTransformer(
            depth=2, embedding_dim=size.d_model, mlp_dim=size.mlp_dim, num_heads=size.decoder_heads
        ),
        transformer_dim=size.d_model,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
        use_high_res_features=True,
        iou_prediction_use_sigmoid=True,
        pred_obj_scores=size.object_scores,
        pred_obj_scores_mlp=size.object_scores,
        use_multimask_token_for_obj_ptr=size.object_scores,
    )
