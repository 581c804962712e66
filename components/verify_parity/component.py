"""The component verify_parity."""

from kfp import dsl

from components import _image


@dsl.component(base_image=_image.TRAIN, install_kfp_package=False)
def verify_parity(
    run_uri: str,
    jobs: int,
    data: dsl.Input[dsl.Dataset],
    candidate: dsl.Input[dsl.Model],
    bundle: dsl.Output[dsl.Model],
) -> str:
    """Compares a bundle's graphs with torch and fails where they do not give the same; gives its digest.

    Args:
        run_uri: the run's folder.
        jobs: processes; 0: one for each core.
        data: its split val is segmented by both.
        candidate: the bundle with graphs.
        bundle: the same with the verdict in it.
    """
    from etchline.chain.exporting import compare

    made = compare(candidate.path, data.path, bundle.path, run=run_uri, jobs=jobs or None)
    bundle.metadata.update(made.metadata)
    return str(made.value)
