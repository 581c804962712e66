"""deploy_service, smoke_test and promote_or_rollback, on one machine. Need the extras `train` and `serve`."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from etchline.bundle import load_bundle
from etchline.chain.places import PUBLISHED
from etchline.chain.preparing import JUDGED
from etchline.chain.recording import Made, Recording, read_records, recording
from etchline.datasets import load_dataset
from etchline.errors import EtchlineError, RefusedError, ServiceError, SettingsError
from etchline.rollout.local import read_service
from etchline.rollout.smoke import smoke_test as ask_service
from etchline.rollout.switching import (
    Endpoint,
    check_champion,
    ensure_in_service,
    fetch_for,
    in_service,
    promote,
    read_endpoint,
    roll_back,
    start_beside,
    stop_unless_in_service,
)
from etchline.storage import local_folder

SERVICES = ("champion_service", "service", "replaced_service")
"""Facts that name the folder of a service that a run has started, or is about to replace."""


def deploy(location: str, *, champion: str, serving: str, keep_serving: bool, run: str) -> Made:
    """Starts a service of a published bundle beside the one in service; the value is the new one's folder.

    Where services are kept, the champion is first brought into service, so that something answers whatever
    becomes of the challenger.

    Args:
        location: of the published bundle.
        champion: the bundle that is in service or should be; empty: there is none.
        serving: folder for the services of this machine.
        keep_serving: whether services go on after the run.
        run: the run's folder.

    Raises:
        SettingsError: no folder, one in S3, or another bundle than the champion is in service.
        RefusedError: at the location is another bundle than was published there.
        ServiceError: a service does not become ready; the log's end is in the message.
        EtchlineError: a bundle cannot be fetched.
    """
    with recording("deploy_service", run) as work:
        if not serving:
            raise SettingsError("serving is empty: give a folder for the services of this machine")
        folder = local_folder(Path(serving), "serving")
        if keep_serving and champion:
            in_use = ensure_in_service(champion, folder, announce=_noted(work, "champion_service"))
            work.facts |= {"champion_url": in_use.url}
        elif keep_serving:
            check_champion(champion, folder)
        _check_digest(location, folder)
        endpoint = start_beside(location, folder, announce=_noted(work, "service"))
        work.facts |= {"location": location, "digest": endpoint.digest, "url": endpoint.url}
        return work.made(endpoint.service)


def _check_digest(location: str, folder: Path) -> None:
    """Refuses another bundle than the one whose digest its location carries.

    Raises:
        RefusedError: it is another.
        EtchlineError: see `fetch_for`.
    """
    name = PurePosixPath(location).name
    digest = fetch_for(location, folder).digest
    if name.startswith(PUBLISHED) and name != f"{PUBLISHED}{digest}":
        raise RefusedError(f"{location}: is bundle {digest}, not what was published there")


def _noted(work: Recording, fact: str) -> Callable[[Path], None]:
    """Puts a service's folder into the record before the service starts; see `stop_abandoned`."""

    def note(service: Path) -> None:
        work.facts[fact] = str(service)
        work.save()

    return note


def stop_abandoned(run: str, serving: str) -> None:
    """Stops what a run has started and not put into service, because it ended before: even half a service.

    Raises:
        EtchlineError: the records or the serving folder cannot be read.
    """
    for record in read_records(run):
        for service in (record.facts[name] for name in SERVICES if name in record.facts):
            stop_unless_in_service(Path(str(service)), Path(serving))


def ask(service: str, dataset: str, *, run: str) -> Made:
    """Asks a service over HTTP and compares its masks with the bundle's; the value is whether they are right.

    A service that does not answer is a failed test and no error, so that the next link can roll back.

    Args:
        service: folder of `deploy_service`.
        dataset: its first judged image is asked, after the bundle's golden patch.
        run: the run's folder.

    Raises:
        EtchlineError: the bundle or the dataset cannot be used.
    """
    with recording("smoke_test", run) as work:
        endpoint = read_endpoint(Path(service))
        bundle = load_bundle(Path(read_service(Path(service)).bundle))
        data = load_dataset(dataset)
        asked = ask_service(
            endpoint.url, bundle, [data.image_path(entry) for entry in data.select(split=JUDGED)[:1]]
        )
        work.reasons += [each.reason for each in asked if each.reason]
        work.facts |= {f"iou_{each.image}": each.iou for each in asked if each.iou is not None}
        work.facts |= {"url": endpoint.url, "passed": not work.reasons}
        return work.made(not work.reasons)


def switch(service: str, *, passed: bool, serving: str, keep_serving: bool, run: str) -> Made:
    """Puts the new service into service, or takes it away again; the value says which.

    Args:
        service: folder of `deploy_service`.
        passed: what the smoke test said.
        serving: folder for the services of this machine.
        keep_serving: whether the promoted one goes on after the run; otherwise all is left as it was found.
        run: the run's folder.

    Raises:
        RefusedError: rolled back; says who answers now.
        ServiceError: the champion has died meanwhile, and cannot be started again: nothing answers.
    """
    with recording("promote_or_rollback", run) as work:
        challenger, folder = read_endpoint(Path(service)), Path(serving)
        if not passed:
            challenger.stop()
            left = _champion_back(folder, work) if keep_serving else in_service(folder)
            work.facts |= {"rolled_back": True, **({"url": left.url, "digest": left.digest} if left else {})}
            who = f"{left.location} answers at {left.url}" if left else "nothing is in service"
            raise RefusedError(f"the smoke test failed; rolled back: {who}")
        if keep_serving:
            if (former := in_service(folder)) is not None:
                _noted(work, "replaced_service")(Path(former.service))
            promote(challenger, folder)
            work.facts |= {"url": challenger.url, "grpc_address": challenger.grpc_address}
        else:
            challenger.stop()
            work.notes.append("the service was right and has been stopped; --keep-serving keeps it")
        work.facts |= {"promoted": True, "digest": challenger.digest, "location": challenger.location}
        return work.made("promoted")


def _champion_back(folder: Path, work: Recording) -> Endpoint | None:
    try:
        return roll_back(folder, announce=_noted(work, "champion_service"))
    except EtchlineError as error:
        raise ServiceError(
            f"the smoke test failed, and what was in service cannot be started again ({error}); "
            "nothing answers now"
        ) from error
