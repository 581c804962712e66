"""The error tree. Every message names the file, the value and the remedy.

    EtchlineError
    ├── InputError            something the user gave is wrong: exit code 2
    │   ├── ImageError        an image or mask that cannot be used
    │   ├── LayoutError       an SVG, GDSII or OASIS layout that cannot be used
    │   ├── DatasetError      a dataset folder, its manifest or its files
    │   ├── WeightsError      weights or a checkpoint that cannot be used
    │   ├── BundleError       a bundle folder, its manifest or one of its files
    │   ├── StorageError      an s3:// location, its server or its keys
    │   ├── PairingError      predictions and truths, or two reports, that do not belong together
    │   ├── ReportError       a report of an evaluation that cannot be used
    │   └── SettingsError     an option or a settings file out of its range
    ├── RefusedError          a model or an engine that did not pass its gate: exit code 1
    ├── OutputError           a result that cannot be written: exit code 3
    │   └── FolderTakenError  a folder that should be new or empty, and is not any more
    ├── TrainingError         training that cannot go on: exit code 3
    ├── ServiceError          a service that cannot be started, reached or understood: exit code 3
    └── MissingPackageError   an optional package that is not installed: exit code 3

Foreign errors (Pillow, tifffile, gdstk, pydantic, boto3) are translated where they enter,
`raise ... from error`.
"""

from collections.abc import Iterable, Set

_FEW = 5


def first_few(names: Iterable[str]) -> str:
    """The first five names, for a message, and how many more there are; nothing where there are none.

    Args:
        names: in their order; those of a set come sorted.
    """
    known = sorted(names) if isinstance(names, Set) else list(names)
    more = f" and {len(known) - _FEW} more" if len(known) > _FEW else ""
    return ", ".join(known[:_FEW]) + more


class EtchlineError(Exception):
    """Base of all errors that etchline raises on purpose."""

    exit_code = 3


class InputError(EtchlineError):
    """Something the user gave cannot be used."""

    exit_code = 2


class ImageError(InputError):
    """An image or mask cannot be read, or breaks a stated limit."""


class LayoutError(InputError):
    """A layout file cannot be read, or breaks a stated limit."""


class DatasetError(InputError):
    """A dataset folder, its manifest or one of its files is wrong."""


class WeightsError(InputError):
    """Weights or a checkpoint cannot be used."""


class BundleError(InputError):
    """A bundle is not what its manifest says, or the manifest cannot be used."""


class StorageError(InputError):
    """A location in S3 cannot be read or written: wrong address, keys, network, or a damaged object."""


class PairingError(InputError):
    """Predictions and truths, or two reports, do not belong together."""


class ReportError(InputError):
    """A report of an evaluation cannot be read, or is not what `etchline evaluate --json` writes."""


class SettingsError(InputError):
    """An option or a settings file holds a value out of its range."""


class RefusedError(EtchlineError):
    """A model, an engine or a service did not pass the gate before its deployment."""

    exit_code = 1


class OutputError(EtchlineError):
    """A result cannot be written."""


class FolderTakenError(OutputError):
    """A folder that should be new or empty holds something by now."""


class TrainingError(EtchlineError):
    """Training cannot go on: not a number, dead masks, no memory."""


class ServiceError(EtchlineError):
    """A service cannot be started or reached, or fails."""


class MissingPackageError(EtchlineError):
    """An optional package is not installed; the message gives the install command."""
