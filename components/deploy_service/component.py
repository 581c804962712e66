"""The component deploy_service."""

from kfp import dsl

from components import _image


@dsl.component(base_image=_image.SERVE, install_kfp_package=False)
def deploy_service(run_uri: str, location: str, champion: str, serving_dir: str, keep_serving: bool) -> str:
    """Starts predictor and transformer over a published bundle, beside those in service; gives their folder.

    Args:
        run_uri: the run's folder.
        location: of the published bundle.
        champion: the bundle that is in service; empty: there is none.
        serving_dir: folder for the services of this machine.
        keep_serving: whether services go on after the run.
    """
    from etchline.chain.deploying import deploy

    made = deploy(location, champion=champion, serving=serving_dir, keep_serving=keep_serving, run=run_uri)
    return str(made.value)
