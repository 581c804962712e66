"""`bundle.json`: what a bundle holds and how its networks are used."""

import dataclasses
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from etchline.backends.interface import GRAPHS, ROLES, GraphName, Role
from etchline.backends.turning import Orientations
from etchline.errors import BundleError, SettingsError
from etchline.network.sizes import LARGEST_INPUT_PX, NetworkSize, SizeName
from etchline.segmentation.arbitration import ArbitrationLimits, Policy
from etchline.segmentation.confidence import CellCalibration
from etchline.segmentation.network_settings import LARGEST_VIEW_PX, LEAST_VIEW_PX
from etchline.segmentation.prompting import PromptSettings
from etchline.segmentation.scale import PitchRange

MANIFEST = "bundle.json"
GOLDEN_PATCH = "golden/patch.png"
GOLDEN_MASK = "golden/mask.png"
# What may stand in a bundle; everything else, pickles first of all, is refused by its name.
_ALLOWED = re.compile(
    r"(full|patch)/(weights\.safetensors|encoder\.onnx|decoder\.onnx)"
    r"|golden/(patch|mask)\.png"
    r"|engines/[a-z0-9][a-z0-9-]*-sm[0-9]+/[a-z0-9_-]+\.engine"
)

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Twice and more of SAM2's largest. The weights bound the rest (`read_network`), but not the input's edge.
_Count = Annotated[int, Field(ge=1, le=256)]
_Width = Annotated[int, Field(ge=1, le=8192)]
_Edge = Annotated[int, Field(ge=1, le=LARGEST_INPUT_PX)]


_LEAST_WINDOW = 16  # the windows of SAM2's own networks, whatever the input


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkPart(_Part):
    """What a network is built from; see `network.sizes.NetworkSize`."""

    name: SizeName
    input_px: _Edge
    embed_dim: _Width
    num_heads: _Count
    stages: tuple[_Count, _Count, _Count, _Count]
    global_att_blocks: Annotated[tuple[int, ...], Field(max_length=1024)]
    window_spec: tuple[_Edge, _Edge, _Edge, _Edge]
    background_size: _Edge
    d_model: _Width
    mlp_dim: _Width
    decoder_heads: _Count
    object_scores: bool

    @model_validator(mode="after")
    def _attention_is_bounded(self) -> "NetworkPart":
        """No weight says over how many tokens blocks attend, but their work grows with its square."""
        for stage, window in enumerate(self.window_spec):
            if window > max(_LEAST_WINDOW, self.input_px // 4 >> stage):
                raise ValueError(f"window_spec[{stage}]={window}: larger than what that stage sees")
        early = sum(self.stages[:2])
        if any(block < early for block in self.global_att_blocks):
            raise ValueError(
                f"global_att_blocks={list(self.global_att_blocks)}: one is in the first two stages"
            )
        return self

    @classmethod
    def of(cls, size: NetworkSize) -> "NetworkPart":
        """The part that stands for a size."""
        return cls(**dataclasses.asdict(size))

    @property
    def size(self) -> NetworkSize:
        """The size that the part stands for.

        Raises:
            SettingsError: its input is no multiple of 32.
        """
        return NetworkSize(**self.model_dump())


class ViewsPart(_Part):
    """How images are cut and shown to the networks.

    Attributes:
        min_overlap: least overlap as a share of a view.
        full_view_px: edge of full views; null: the whole image is one.
        orientations: 2: each view is also shown turned by 180 degrees, and the mean counts.
    """

    min_overlap: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    full_view_px: Annotated[int, Field(ge=LEAST_VIEW_PX, le=LARGEST_VIEW_PX)] | None = None
    orientations: Orientations = 1


class ArbitrationPart(_Part):
    """The default policy and the limits; see `segmentation.arbitration`."""

    policy: Policy
    limits: ArbitrationLimits = Field(default_factory=ArbitrationLimits)


class ConfidencePart(_Part):
    """Calibrations: of the result's cells, as a rule relative to their image, and of each model's results.

    Policy `confidence` and the fallback need those of each model, which are not relative.
    """

    cells: CellCalibration
    patch: CellCalibration | None = None
    full: CellCalibration | None = None


class ProvenancePart(_Part):
    """Where the weights come from: digests of dataset and parent bundle, recipe, etchline's version."""

    code_version: str
    dataset_digest: Sha256 | None = None
    parent: Sha256 | None = None
    recipe: dict[str, JsonValue] = Field(default_factory=dict)


class FilePart(_Part):
    """One file of the bundle."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class BundleManifest(_Part):
    """The whole of `bundle.json`. Its sha256 is the bundle's digest.

    Attributes:
        schema_version: of the file; "schema" there.
        name: for people; the digest identifies.
        networks: by role; one is enough for the policy of its name.
        views: how images are cut.
        prompt: how points are placed.
        arbitration: default policy and limits.
        confidence: calibrations.
        trained_pitch: pitches that the networks have learnt; null where nobody knows.
        validation: the validation report.
        provenance: where the weights come from.
        files: every file but `bundle.json`, by its path with slashes.
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    name: Annotated[str, Field(min_length=1)]
    networks: Annotated[dict[Role, NetworkPart], Field(min_length=1)]
    views: ViewsPart
    prompt: PromptSettings
    arbitration: ArbitrationPart
    confidence: ConfidencePart
    trained_pitch: PitchRange | None
    validation: dict[str, JsonValue]
    provenance: ProvenancePart
    files: dict[str, FilePart]

    @model_validator(mode="after")
    def _files_are_known(self) -> "BundleManifest":
        for path in self.files:
            if not _ALLOWED.fullmatch(path):
                raise ValueError(f"file {path!r} is none that a bundle may hold")
        wanted = {GOLDEN_PATCH, GOLDEN_MASK, *(weights_path(role) for role in self.networks)}
        missing = sorted(wanted - self.files.keys())
        if missing:
            raise ValueError(f"files lack {', '.join(missing)}")
        for role in ROLES:
            if role not in self.networks and any(path.startswith(f"{role}/") for path in self.files):
                raise ValueError(f"files of the role {role}, but no network")
        for part in self.networks.values():
            if part.input_px % 32:
                raise ValueError(f"input_px={part.input_px} is no multiple of 32")
            if part.embed_dim % part.num_heads:
                raise ValueError(f"embed_dim={part.embed_dim} is no multiple of num_heads={part.num_heads}")
        return self

    @model_validator(mode="after")
    def _policy_has_its_networks(self) -> "BundleManifest":
        policy = self.arbitration.policy
        for role in (policy,) if policy == "full" or policy == "patch" else ROLES:
            if role not in self.networks:
                raise ValueError(f"policy {policy} needs a network for {role}")
        return self


def weights_path(role: Role) -> str:
    """The path of a role's weights in a bundle."""
    return f"{role}/weights.safetensors"


def graph_path(role: Role, name: GraphName) -> str:
    """The path of a role's ONNX graph in a bundle."""
    return f"{role}/{name}.onnx"


def graph_paths(manifest: BundleManifest) -> set[str]:
    """The paths of the ONNX graphs of all networks, whether they are there or not."""
    return {graph_path(role, name) for role in manifest.networks for name in GRAPHS}


def missing_graphs(manifest: BundleManifest) -> list[str]:
    """The ONNX graphs of its networks that a bundle lacks, sorted."""
    return sorted(graph_paths(manifest) - manifest.files.keys())


def has_graphs(manifest: BundleManifest) -> bool:
    """Whether a bundle holds the ONNX graphs of all its networks."""
    return not missing_graphs(manifest)


def parse_manifest(text: bytes, origin: str) -> BundleManifest:
    """A manifest from JSON.

    Raises:
        BundleError: not JSON, an unknown schema, an unknown or missing field, a value out of its range; the
            message names `origin` and the field.
    """
    try:
        return BundleManifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise BundleError(
            f"{origin}: not a bundle of this version ({where}: {first['msg']}); "
            "export it again, or install the etchline it was made for"
        ) from error
    except SettingsError as error:
        raise BundleError(f"{origin}: {error}") from error
