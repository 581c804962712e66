"""The component gate_esd."""

from kfp import dsl

from components import _image


@dsl.component(base_image=_image.TRAIN, install_kfp_package=False)
def gate_esd(
    run_uri: str,
    recipe: str,
    challenger: dsl.Input[dsl.Artifact],
    in_service: dsl.Input[dsl.Artifact],
    verdict: dsl.Output[dsl.Artifact],
) -> bool:
    """Decides whether the challenger may be deployed.

    Args:
        run_uri: the run's folder.
        recipe: YAML text whose section `gate` has the limits.
        challenger: its report.
        in_service: the champion's report.
        verdict: every check with its reason, as JSON and as a page.
    """
    from etchline.chain.gating import decide

    made = decide(challenger.path, in_service.path, verdict.path, recipe=recipe, run=run_uri)
    verdict.metadata.update(made.metadata)
    return bool(made.value)
