"""Which bundle is in service on this machine: a new one beside it, the change to it, and the way back.

A folder holds `endpoint.json`, which says who answers now, and below `services` one folder for each service.
The new service gets ports of its own, so that the one in service answers until the other has been tried.
Needs the extras `train` (or `onnx`) and `serve` in this environment.
"""

import hashlib
import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from etchline.bundle.fetching import fetch_bundle
from etchline.errors import ServiceError, SettingsError
from etchline.rollout.local import LocalSettings, is_ready, read_service, start_service, stop_service
from etchline.storage import write_text

ENDPOINT, SERVICES, BUNDLES = "endpoint.json", "services", "bundles"
READY_WITHIN_S = 600.0
"""Patient: beside two trainings a start was measured to take three minutes, which else takes ten seconds."""


class Endpoint(BaseModel):
    """A service of a bundle.

    Attributes:
        location: of the bundle, as it was published.
        digest: of the bundle.
        service: folder of its logs and its `service.json`.
        url: of its REST.
        grpc_address: host:port.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    location: str
    digest: str
    service: str
    url: str
    grpc_address: str

    @property
    def is_running(self) -> bool:
        """Whether a process of it runs: half a service is to be stopped, too."""
        try:
            found = read_service(Path(self.service))
        except ServiceError:
            return False
        return found.predictor.is_running or found.transformer.is_running

    @property
    def is_ready(self) -> bool:
        """Whether both of its processes run, and it says that it is ready."""
        if not self.is_running:
            return False
        found = read_service(Path(self.service))
        return found.is_running and is_ready(found)

    def stop(self) -> None:
        """Stops its processes; what has already ended is left alone."""
        if self.is_running:
            stop_service(read_service(Path(self.service)))


def start_beside(location: str, folder: Path, settings: LocalSettings | None = None) -> Endpoint:
    """A ready service of a published bundle; what is in service stays.

    Args:
        location: nano, a folder or `s3://`; a copy of the latter goes below `folder`.
        folder: for the services of this machine.
        settings: see `LocalSettings`; `None`: any free ports, and patience.

    Raises:
        EtchlineError: see `fetch_bundle` and `start_service`; nothing is left running.
    """
    copy = folder / BUNDLES / hashlib.sha256(location.encode()).hexdigest()[:16]
    bundle = fetch_bundle(location, copy)
    place = folder / SERVICES / f"{bundle.digest[:12]}-{secrets.token_hex(3)}"
    service = start_service(bundle.folder, place, settings or LocalSettings(ready_within_s=READY_WITHIN_S))
    endpoint = Endpoint(
        location=location,
        digest=bundle.digest,
        service=str(place.resolve()),
        url=service.url,
        grpc_address=service.grpc_address,
    )
    try:
        _write(place, endpoint)
    except BaseException:
        stop_service(service)
        raise
    return endpoint


def read_endpoint(folder: Path) -> Endpoint:
    """The service that a folder tells of, whether or not it runs.

    Raises:
        ServiceError: it tells of none.
    """
    try:
        return Endpoint.model_validate_json((folder / ENDPOINT).read_bytes())
    except (OSError, ValidationError) as error:
        raise ServiceError(f"{folder / ENDPOINT}: says nothing of a service") from error


def in_service(folder: Path) -> Endpoint | None:
    """The service that should answer now; `None` where no process of it runs."""
    if not (folder / ENDPOINT).exists():
        return None
    endpoint = read_endpoint(folder)
    return endpoint if endpoint.is_running else None


def ensure_in_service(location: str, folder: Path) -> Endpoint:
    """The service of a bundle, which is in service from now on; it is started where none is.

    Raises:
        SettingsError: another bundle is in service.
        EtchlineError: see `start_beside`.
    """
    found = in_service(folder)
    copy = folder / BUNDLES / hashlib.sha256(location.encode()).hexdigest()[:16]
    digest = fetch_bundle(location, copy).digest
    if found is not None and found.digest != digest:
        raise SettingsError(
            f"{folder}: in service is {found.location}, not the champion {location}; "
            "name what is in service, or stop it"
        )
    if found is not None and found.is_ready:
        return found
    if found is not None:
        found.stop()
    endpoint = start_beside(location, folder)
    _write(folder, endpoint)
    return endpoint


def promote(endpoint: Endpoint, folder: Path) -> None:
    """Puts a service into service; the one that was is stopped.

    Raises:
        OutputError: the folder cannot be written; then nothing changes.
    """
    former = in_service(folder)
    _write(folder, endpoint)
    if former is not None and former.service != endpoint.service:
        former.stop()


def roll_back(folder: Path) -> Endpoint | None:
    """The service that was in service and answers, started again if it has died; `None`: there was none.

    Raises:
        EtchlineError: it cannot be started.
    """
    if not (folder / ENDPOINT).exists():
        return None
    return ensure_in_service(read_endpoint(folder).location, folder)


def _write(folder: Path, endpoint: Endpoint) -> None:
    write_text(folder / ENDPOINT, endpoint.model_dump_json(indent=1) + "\n")
