"""The component publish_bundle."""

from kfp import dsl

from components import _image


@dsl.component(base_image=_image.TRAIN, install_kfp_package=False)
def publish_bundle(run_uri: str, destination: str, bundle: dsl.Input[dsl.Model]) -> str:
    """Publishes a bundle by its digest, where it never changes; gives its location.

    Args:
        run_uri: the run's folder.
        destination: a folder or `s3://bucket/prefix`.
        bundle: what is published.
    """
    from etchline.chain.publishing import publish

    made = publish(bundle.path, destination=destination, run=run_uri)
    return str(made.value)
