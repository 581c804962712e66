"""The component prepare_data."""

from kfp import dsl

from components import _image


@dsl.component(base_image=_image.TRAIN, install_kfp_package=False)
def prepare_data(run_uri: str, dataset: str, chip: dict, jobs: int, data: dsl.Output[dsl.Dataset]) -> str:
    """Brings or draws the dataset of a run and verifies every file of it; gives its digest.

    Args:
        run_uri: the run's folder, a path or `s3://bucket/prefix`.
        dataset: a folder or `s3://bucket/prefix` with a dataset.json; empty: it is drawn.
        chip: what is drawn instead, such as {"ic": "ic09", "train": 10, "val": 3, "test": 6}.
        jobs: processes; 0: one for each core.
        data: the dataset.
    """
    from etchline.chain.preparing import prepare

    made = prepare(data.path, dataset=dataset, chip=chip, run=run_uri, jobs=jobs or None)
    data.metadata.update(made.metadata)
    return str(made.metadata["dataset_digest"])
