"""The component promote_or_rollback."""

from kfp import dsl

from components import _image


@dsl.component(base_image=_image.SERVE, install_kfp_package=False)
def promote_or_rollback(
    run_uri: str, service: str, passed: bool, serving_dir: str, keep_serving: bool
) -> str:
    """Puts the new service into service, or stops it and fails; the champion answers then.

    Args:
        run_uri: the run's folder.
        service: what `deploy_service` started.
        passed: what the smoke test said.
        serving_dir: folder for the services of this machine.
        keep_serving: whether the promoted service goes on after the run.
    """
    from etchline.chain.deploying import switch

    made = switch(service, passed=passed, serving=serving_dir, keep_serving=keep_serving, run=run_uri)
    return str(made.value)
