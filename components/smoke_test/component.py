"""The component smoke_test."""

from kfp import dsl

from components import _image


@dsl.component(base_image=_image.SERVE, install_kfp_package=False)
def smoke_test(run_uri: str, service: str, data: dsl.Input[dsl.Dataset]) -> bool:
    """Asks the new service over HTTP and compares its masks with the bundle's.

    Args:
        run_uri: the run's folder.
        service: what `deploy_service` started.
        data: one of its judged images is asked.
    """
    from etchline.chain.deploying import ask

    return bool(ask(service, data.path, run=run_uri).value)
