"""The bundle that comes with the package: nano, pretrained on synthetic images (docs/nano.md)."""

from pathlib import Path

NANO = "nano"
SHIPPED = Path(__file__).with_name("shipped_nano")


def bundle_folder(name: str) -> Path:
    """The folder of the bundle that a user names: "nano" is the shipped one, all else is a path.

    A folder of that name in the working directory is "./nano".
    """
    return SHIPPED if name == NANO else Path(name)
