"""Weights in and out: SAM2.1 checkpoints, and safetensors files of our own.

Nothing here executes what a file says: pickles are read with `weights_only=True`, or not at all.
"""

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from etchline.errors import WeightsError, first_few
from etchline.network.line_network import LineNetwork
from etchline.network.sizes import NetworkSize
from etchline.storage import atomic_path

# What SAM2's video model has besides: memory, and pointers to objects of earlier frames.
VIDEO_PREFIXES = (
    "memory_attention.",
    "memory_encoder.",
    "maskmem_tpos_enc",
    "mask_downsample.",
    "no_mem_pos_enc",
    "no_obj_embed_spatial",
    "no_obj_ptr",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
)
_BLOCKS = "image_encoder.trunk.blocks."


def load_weights(network: LineNetwork, path: Path) -> None:
    """Puts the weights of a file into the network.

    Args:
        network: of the size that the file was made for.
        path: `.safetensors`, or a PyTorch checkpoint such as SAM2.1's own `.pt` files. Keys of the video
            memory are left out.

    Raises:
        WeightsError: the file cannot be read, is neither, holds other things than tensors, or its keys or
            shapes are not the network's; the message names them.
    """
    assign_weights(network, _read(path), str(path))


def read_network(size: NetworkSize, path: Path) -> LineNetwork:
    """A network with the weights of a file, built only where the file is about as large.

    Args:
        size: what a bundle says of it: nothing in it needs to be true.
        path: see `load_weights`.

    Raises:
        WeightsError: see `load_weights`; or no network can be built of that size.
    """
    weights = _read(path)
    blocks = {name.split(".")[3] for name in weights if name.startswith(_BLOCKS)}
    if len(blocks) != sum(size.stages):
        raise WeightsError(
            f"{path}: {len(blocks)} blocks of the image encoder, the network has {sum(size.stages)}; "
            "make the bundle anew"
        )
    for name, shape in _telling_shapes(size).items():
        found = tuple(weights[name].shape) if name in weights else "missing"
        if found != shape:
            raise WeightsError(f"{path}: {name} is {found}, the network needs {shape}; make the bundle anew")
    try:
        network = LineNetwork(size)
    except (AssertionError, ArithmeticError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{path}: no network can be built of {size}; make the bundle anew") from error
    assign_weights(network, weights, str(path))
    return network


def _telling_shapes(size: NetworkSize) -> dict[str, tuple[int, ...]]:
    """Of tensors that grow with every number of the size, the largest ones among them: a file that has them
    is within a small factor of the network.
    """
    trunk, width = "image_encoder.trunk", size.embed_dim
    decoder = "sam_mask_decoder.transformer.layers.0"
    widths = [width << stage for stage, blocks in enumerate(size.stages) for _ in range(blocks)]
    return {
        f"{trunk}.patch_embed.proj.weight": (width, 3, 7, 7),
        f"{trunk}.pos_embed": (1, width, size.background_size, size.background_size),
        f"{trunk}.pos_embed_window": (1, width, size.window_spec[0], size.window_spec[0]),
        "no_mem_embed": (1, 1, size.d_model),
        **{f"{_BLOCKS}{at}.mlp.layers.0.weight": (4 * wide, wide) for at, wide in enumerate(widths)},
        f"{decoder}.self_attn.q_proj.weight": (size.d_model, size.d_model),
        f"{decoder}.mlp.layers.0.weight": (size.mlp_dim, size.d_model),
    }


def assign_weights(network: LineNetwork, weights: Mapping[str, Tensor], origin: str) -> None:
    """Puts named tensors into the network; keys of the video memory are left out.

    Args:
        network: of the size that the tensors are made for.
        weights: by the names of `sam2`'s own model.
        origin: where they come from, for messages.

    Raises:
        WeightsError: keys or shapes are not the network's, or a number is not finite.
    """
    found = {name: tensor for name, tensor in weights.items() if not name.startswith(VIDEO_PREFIXES)}
    wanted = network.state_dict()
    missing, surplus = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or surplus:
        lacking, unknown = first_few(missing) or "nothing", first_few(surplus) or "nothing"
        raise WeightsError(
            f"{origin}: not the weights of a {network.size.name} network: missing {lacking}; "
            f"surplus {unknown}; give the size that the file was made for, or train anew if "
            "that size has changed since"
        )
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            raise WeightsError(
                f"{origin}: {name} has shape {tuple(found[name].shape)}, a {network.size.name} network needs "
                f"{tuple(tensor.shape)}; give the size that the file was made for"
            )
        if not torch.isfinite(found[name]).all():
            raise WeightsError(f"{origin}: {name} holds NaN or infinity; the file is damaged")
    network.load_state_dict(found)


def save_weights(network: LineNetwork, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes the network's weights as safetensors, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    state = {
        name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in network.state_dict().items()
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(state))


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = _load_pickled(path)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file; give the path of a checkpoint") from error
    except (OSError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: no readable safetensors or checkpoint of tensors ({reason})") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(_is_named_tensor(*item) for item in content.items()):
        raise WeightsError(f"{path}: holds other things than named tensors; give a SAM2 checkpoint")
    return content


def _load_pickled(path: Path) -> object:
    """What a PyTorch checkpoint holds, without executing it."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    # Its unpickler fails in any way on damaged files, and where it refuses one it advises to trust it.
    except Exception as error:
        raise WeightsError(
            f"{path}: no readable safetensors or checkpoint of tensors ({type(error).__name__}); "
            "give a SAM2 checkpoint"
        ) from error


def _is_named_tensor(name: object, tensor: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and not tensor.is_meta
        and not tensor.is_complex()
    )
