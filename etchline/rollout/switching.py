"""Which bundle is in service on this machine: a new one beside it, the change to it, and the way back.

A folder holds `endpoint.json`, which says who answers now, and below `services` one folder for each service.
The new service gets ports of its own, so that the one in service answers until the other has been tried.
Needs the extras `train` (or `onnx`) and `serve` in this environment.
"""

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from etchline.bundle import Bundle
from etchline.bundle.fetching import fetch_bundle
from etchline.bundle.shipped import NANO
from etchline.errors import EtchlineError, ServiceError, SettingsError
from etchline.rollout.local import LocalSettings, is_ready, read_service, start_service, stop_service
from etchline.storage import is_s3, write_text

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


def _unannounced(service: Path) -> None:
    """Nobody is told."""


def start_beside(
    location: str,
    folder: Path,
    settings: LocalSettings | None = None,
    *,
    announce: Callable[[Path], None] = _unannounced,
) -> Endpoint:
    """A ready service of a published bundle; what is in service stays.

    Args:
        location: nano, a folder or `s3://`; a copy of the latter goes below `folder`.
        folder: for the services of this machine.
        settings: see `LocalSettings`; `None`: any free ports, and patience.
        announce: is given the new service's folder before anything starts, for `stop_unless_in_service`.

    Raises:
        EtchlineError: see `fetch_bundle` and `start_service`; nothing is left running.
    """
    bundle = fetch_for(location, folder)
    place = folder / SERVICES / f"{bundle.digest[:12]}-{secrets.token_hex(3)}"
    announce(place.absolute())
    service = start_service(bundle.folder, place, settings or LocalSettings(ready_within_s=READY_WITHIN_S))
    endpoint = Endpoint(
        # Whoever rolls back to it may be started elsewhere.
        location=location if location == NANO or is_s3(location) else str(Path(location).absolute()),
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


def check_champion(champion: str, folder: Path) -> Endpoint | None:
    """The service that should answer now, which is the champion's; `None`: nothing is in service.

    Args:
        champion: nano, a folder or `s3://`; empty: there is none.
        folder: for the services of this machine.

    Raises:
        SettingsError: another bundle is in service, or one although there should be none: a new one would
            take its place without ever having been compared with it.
        EtchlineError: see `fetch_bundle`.
    """
    found = in_service(folder)
    if found is not None and not champion:
        raise SettingsError(
            f"{folder}: in service is {found.location}, and no champion is named; name it, or stop it"
        )
    if found is not None and found.digest != fetch_for(champion, folder).digest:
        raise SettingsError(
            f"{folder}: in service is {found.location}, not the champion {champion}; "
            "name what is in service, or stop it"
        )
    return found


def ensure_in_service(
    location: str, folder: Path, *, announce: Callable[[Path], None] = _unannounced
) -> Endpoint:
    """The service of a bundle, which is in service from now on; it is started where none is ready.

    Args:
        location: see `start_beside`.
        folder: for the services of this machine.
        announce: see `start_beside`.

    Raises:
        SettingsError: another bundle is in service.
        EtchlineError: see `start_beside`.
    """
    found = check_champion(location, folder)
    return found if found is not None and found.is_ready else _renew(location, folder, announce)


def _renew(location: str, folder: Path, announce: Callable[[Path], None]) -> Endpoint:
    """A new service in the place of the one in service, which answers until it can be replaced."""
    endpoint = start_beside(location, folder, announce=announce)
    try:
        promote(endpoint, folder)
    except EtchlineError:
        endpoint.stop()
        raise
    return endpoint


def stop_unless_in_service(service: Path, folder: Path) -> None:
    """Stops what runs of a service that has been announced, ready or not, unless it is in service.

    Raises:
        ServiceError: the folder's `endpoint.json` cannot be read.
    """
    kept = in_service(folder)
    if kept is not None and Path(kept.service) == service.resolve():
        return
    try:
        found = read_service(service)
    except ServiceError:
        return  # it never began
    stop_service(found)


def promote(endpoint: Endpoint, folder: Path) -> None:
    """Puts a service into service; the one that was is stopped.

    Raises:
        OutputError: the folder cannot be written; then nothing changes.
        ServiceError: it is not known which service was.
    """
    former = in_service(folder)
    _write(folder, endpoint)
    if former is not None and former.service != endpoint.service:
        former.stop()


def roll_back(folder: Path, *, announce: Callable[[Path], None] = _unannounced) -> Endpoint | None:
    """The service that was in service and answers, started again if it has died; `None`: there was none.

    Where it is well, its bundle is not asked for: the place that it came from may be out of reach.

    Args:
        folder: for the services of this machine.
        announce: see `start_beside`.

    Raises:
        EtchlineError: it cannot be started.
    """
    if not (folder / ENDPOINT).exists():
        return None
    former = read_endpoint(folder)
    return former if former.is_ready else _renew(former.location, folder, announce)


def fetch_for(location: str, folder: Path) -> Bundle:
    """A bundle, verified; a copy of one in S3 goes below the folder for services, and is used again.

    Raises:
        EtchlineError: see `fetch_bundle`.
    """
    return fetch_bundle(location, folder / BUNDLES / hashlib.sha256(location.encode()).hexdigest()[:16])


def _write(folder: Path, endpoint: Endpoint) -> None:
    write_text(folder / ENDPOINT, endpoint.model_dump_json(indent=1) + "\n")
