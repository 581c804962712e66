"""The component evaluate."""

from kfp import dsl

from components import _image


@dsl.component(base_image=_image.TRAIN, install_kfp_package=False)
def evaluate(
    run_uri: str,
    champion: str,
    champion_report: str,
    jobs: int,
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    challenger: dsl.Output[dsl.Artifact],
    in_service: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Judges challenger, champion and the classical segmenter on the same test and unseen images.

    Args:
        run_uri: the run's folder.
        champion: the bundle in service: nano, a folder or `s3://`; empty: there is none.
        champion_report: its report on the same images, where it has been judged already; it then segments one
            image only, for the picture.
        jobs: processes; 0: one for each core.
        data: its splits test and unseen judge.
        model: what `finetune` made.
        challenger: its report.
        in_service: the champion's report, or the word that there is no champion.
        metrics: the challenger's ESD.
    """
    from etchline.chain.judging import judge

    made = judge(
        data.path,
        model.path,
        (challenger.path, in_service.path),
        champion=champion,
        champion_report=champion_report,
        run=run_uri,
        jobs=jobs or None,
    )
    challenger.metadata.update(made.metadata)
    in_service.metadata.update({"champion": made.metadata["champion"]})
    for name in ("esd_rate", "esd_errors", "lines"):
        metrics.log_metric(name, made.metadata[name])
