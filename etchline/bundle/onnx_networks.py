"""The graphs of a bundle in onnxruntime. Needs the extra `onnx`, no torch."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from etchline.backends.interface import GRAPHS, Role
from etchline.backends.onnx_engine import OnnxBackend, OnnxSettings
from etchline.backends.onnx_graphs import RoleGraphs
from etchline.bundle.graph_cache import cached_graphs
from etchline.bundle.loading import Bundle
from etchline.bundle.manifest import FilePart, graph_path, has_graphs, missing_graphs
from etchline.errors import BundleError


def onnx_backend(bundle: Bundle, settings: OnnxSettings | None = None) -> OnnxBackend:
    """The engine over a verified bundle's own graphs.

    Raises:
        BundleError: it holds none, or they are not those of its networks.
        SettingsError: the device cannot be used.
    """
    missing = missing_graphs(bundle.manifest)
    if missing:
        raise BundleError(f"{bundle.folder}: no {', '.join(missing)}; export it with --engine onnx")
    paths = {name: bundle.path(name) for name in bundle.manifest.files}
    return files_backend(bundle, paths, bundle.manifest.files, settings)


def onnx_backend_or_cached(bundle: Bundle, settings: OnnxSettings | None = None) -> OnnxBackend:
    """The engine over a bundle's own graphs, or over those made at first use and kept in the user's cache.

    Raises:
        MissingPackageError: there are none yet, and what makes them is not installed.
        BundleError: see `onnx_backend`; graphs just made are not what torch says.
        OutputError: the cache cannot be written.
    """
    if has_graphs(bundle.manifest):
        return onnx_backend(bundle, settings)
    with cached_graphs(bundle) as cached:
        paths = {name: cached.folder / name for name in cached.files}
        return files_backend(bundle, paths, cached.files, settings)


def files_backend(
    bundle: Bundle,
    paths: Mapping[str, Path],
    parts: Mapping[str, FilePart] | None = None,
    settings: OnnxSettings | None = None,
) -> OnnxBackend:
    """The engine over graphs for a bundle's networks, wherever they lie.

    Args:
        bundle: says what the networks are.
        paths: of the graphs, by their paths in a bundle.
        parts: what the files must be; `None`: they have just been made.
        settings: see `OnnxSettings`.

    Raises:
        BundleError: see `onnx_backend`.
        SettingsError: the device cannot be used.
    """
    graphs: dict[Role, RoleGraphs] = {}
    for role, network in bundle.manifest.networks.items():
        names = [graph_path(role, name) for name in GRAPHS]
        encoder, decoder = (_read(paths[name], parts[name] if parts else None) for name in names)
        graphs[role] = RoleGraphs(network.size, encoder, decoder, str(paths[names[0]].parent))
    return OnnxBackend(graphs, settings)


def _read(path: Path, part: FilePart | None) -> bytes:
    """A file's bytes; where a part is given, those that were verified, and not what stands there by now."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error})") from error
    if part is not None and hashlib.sha256(data).hexdigest() != part.sha256:
        raise BundleError(f"{path}: has changed since the bundle was loaded; run again")
    return data
