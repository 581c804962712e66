"""The component export_bundle."""

from kfp import dsl

from components import _image


@dsl.component(base_image=_image.TRAIN, install_kfp_package=False)
def export_bundle(run_uri: str, model: dsl.Input[dsl.Model], candidate: dsl.Output[dsl.Model]) -> str:
    """Adds the ONNX graphs of its networks to a bundle; gives the digest of the new one.

    Args:
        run_uri: the run's folder.
        model: what `finetune` made.
        candidate: the bundle with graphs that no one has compared yet.
    """
    from etchline.chain.exporting import add_graphs

    made = add_graphs(model.path, candidate.path, run=run_uri)
    candidate.metadata.update(made.metadata)
    return str(made.value)
