"""deploy_service, smoke_test and promote_or_rollback, on one machine. Need the extras `train` and `serve`."""

from pathlib import Path

from etchline.bundle import load_bundle
from etchline.chain.preparing import JUDGED
from etchline.chain.recording import Made, read_records, recording
from etchline.datasets import load_dataset
from etchline.errors import RefusedError, SettingsError
from etchline.rollout.local import read_service
from etchline.rollout.smoke import smoke_test as ask_service
from etchline.rollout.switching import (
    ensure_in_service,
    in_service,
    promote,
    read_endpoint,
    roll_back,
    start_beside,
)


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
        SettingsError: no folder, or another bundle than the champion is in service.
        ServiceError: a service does not become ready; the log's end is in the message.
        EtchlineError: a bundle cannot be fetched.
    """
    with recording("deploy_service", run) as work:
        if not serving:
            raise SettingsError("serving is empty: give a folder for the services of this machine")
        if champion and keep_serving:
            work.facts |= {"champion_url": ensure_in_service(champion, Path(serving)).url}
        endpoint = start_beside(location, Path(serving))
        work.facts |= {"location": location, "digest": endpoint.digest, "url": endpoint.url}
        work.facts |= {"service": endpoint.service}
        return work.made(endpoint.service)


def stop_abandoned(run: str, serving: str) -> None:
    """Stops the service that a run has started, unless it is in service: the run ended before it was judged.

    Raises:
        EtchlineError: the records or the serving folder cannot be read.
    """
    deployed = next((each for each in read_records(run) if each.link == "deploy_service"), None)
    service = str(deployed.facts.get("service", "")) if deployed else ""
    if not service:
        return
    kept = in_service(Path(serving))
    if kept is None or kept.service != service:
        read_endpoint(Path(service)).stop()


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
    """
    with recording("promote_or_rollback", run) as work:
        challenger, folder = read_endpoint(Path(service)), Path(serving)
        if not passed:
            challenger.stop()
            left = roll_back(folder) if keep_serving else in_service(folder)
            work.facts |= {"rolled_back": True, **({"url": left.url, "digest": left.digest} if left else {})}
            who = f"{left.location} answers at {left.url}" if left else "nothing is in service"
            raise RefusedError(f"the smoke test failed; rolled back: {who}")
        if keep_serving:
            promote(challenger, folder)
            work.facts |= {"url": challenger.url, "grpc_address": challenger.grpc_address}
        else:
            challenger.stop()
            work.notes.append("the service was right and has been stopped; --keep-serving keeps it")
        work.facts |= {"promoted": True, "digest": challenger.digest, "location": challenger.location}
        return work.made("promoted")
