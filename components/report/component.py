"""The component report."""

from kfp import dsl

from components import _image


@dsl.component(base_image=_image.TRAIN, install_kfp_package=False)
def report(run_uri: str, status: dsl.PipelineTaskFinalStatus, page: dsl.Output[dsl.HTML]) -> None:
    """Writes report.json and report.html from what the links have left, whatever became of them.

    Args:
        run_uri: the run's folder.
        status: what became of the run.
        page: the report.
    """
    from etchline.chain.reporting import write_report

    made = write_report(run_uri, state=str(status.state), page=page.path)
    page.metadata.update(made.metadata)
