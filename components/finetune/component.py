"""The component finetune."""

from kfp import dsl

from components import _image


@dsl.component(base_image=_image.TRAIN, install_kfp_package=False)
def finetune(
    run_uri: str,
    recipe: str,
    init: str,
    role: str,
    jobs: int,
    data: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Trains on a dataset and makes a calibrated bundle of it; gives its digest.

    Args:
        run_uri: the run's folder.
        recipe: YAML text; empty: the nano network's.
        init: first weights: random, a checkpoint, nano, a bundle's folder or `s3://`.
        role: patch, full, both or single.
        jobs: processes; 0: one for each core.
        data: learns from its split train, chooses by its split val.
        model: the bundle, and the training it came from.
        metrics: the best epoch and its validation ESD.
    """
    from etchline.chain.finetuning import fine_tune

    made = fine_tune(
        data.path, model.path, recipe=recipe, init=init, model=role, run=run_uri, jobs=jobs or None
    )
    model.metadata.update(made.metadata)
    metrics.log_metric("val_esd_rate", made.metadata["val_esd_rate"])
    metrics.log_metric("best_epoch", made.metadata["best_epoch"])
    return str(made.value)
