"""The bundle that comes with the package: nano, pretrained on synthetic images (docs/nano.md)."""

from importlib.util import find_spec
from pathlib import Path

NANO = "nano"
SHIPPED = Path(__file__).with_name("shipped_nano")


def bundle_folder(name: str) -> Path:
    """The folder of the bundle that a user names: "nano" is the shipped one, all else is a path.

    A folder of that name in the working directory is "./nano".
    """
    return SHIPPED if name == NANO else Path(name)


def networks_run() -> bool:
    """Whether what runs networks is installed."""
    return all(find_spec(package) is not None for package in ("torch", "sam2", "safetensors"))
