"""publish_bundle: a bundle where it never changes again."""

from pathlib import Path

from etchline.bundle import load_bundle
from etchline.chain.places import PUBLISHED
from etchline.chain.recording import Made, recording
from etchline.errors import SettingsError
from etchline.storage import publish_folder


def publish(bundle: str, *, destination: str, run: str) -> Made:
    """Publishes a bundle below a destination, by its digest; the value is its location.

    Args:
        bundle: folder.
        destination: a folder or `s3://bucket/prefix`.
        run: the run's folder.

    Raises:
        BundleError: the bundle cannot be used.
        SettingsError: no destination.
        StorageError: the destination cannot be written.
    """
    with recording("publish_bundle", run) as work:
        loaded = load_bundle(Path(bundle))
        if not destination:
            raise SettingsError("destination is empty: give a folder or s3://bucket/prefix")
        location = f"{destination.rstrip('/')}/{PUBLISHED}{loaded.digest}"
        publish_folder(Path(bundle), location)
        work.facts |= {"digest": loaded.digest, "location": location}
        return work.made(location)
