"""Components that do what the chain's do, and then something goes wrong; kfp ships their text."""

from kfp import dsl

from components import _image


@dsl.component(base_image=_image.TRAIN, install_kfp_package=False)
def export_damaged(run_uri: str, model: dsl.Input[dsl.Model], candidate: dsl.Output[dsl.Model]) -> str:
    """Takes graphs that an earlier run has exported of the same networks, and damages one weight of them."""
    import os
    import tempfile
    from pathlib import Path

    from etchline.bundle import load_bundle
    from etchline.bundle.extending import extend_bundle
    from etchline.chain.recording import recording
    from tests.onnx_bundles import plant

    with recording("export_bundle", run_uri) as work, tempfile.TemporaryDirectory() as scratch:
        bundle, earlier = (
            load_bundle(Path(folder)) for folder in (f"{model.path}/bundle", os.environ["EARLIER_CANDIDATE"])
        )
        names = [name for name in earlier.manifest.files if name.endswith(".onnx")]
        damaged = plant({name: earlier.path(name) for name in names}, Path(scratch), "decoder weight")
        made = extend_bundle(bundle, Path(candidate.path), damaged)
        work.facts["digest"] = made.digest
        return made.digest


@dsl.component(base_image=_image.SERVE, install_kfp_package=False)
def deploy_without_predictor(
    run_uri: str, location: str, champion: str, serving_dir: str, keep_serving: bool
) -> str:
    """Deploys, and kills the new service's predictor: only the classical segmenter can answer now."""
    import os
    import signal
    from pathlib import Path

    from etchline.chain.deploying import deploy
    from etchline.rollout.local import read_service

    made = deploy(location, champion=champion, serving=serving_dir, keep_serving=keep_serving, run=run_uri)
    os.kill(read_service(Path(str(made.value))).predictor.pid, signal.SIGKILL)
    return str(made.value)
