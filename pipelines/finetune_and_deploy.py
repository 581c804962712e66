"""Labelled images to a model in service, through the ESD gate, the parity gate and a smoke test."""

from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl.base_component import BaseComponent

from components.deploy_service.component import deploy_service
from components.evaluate.component import evaluate
from components.export_bundle.component import export_bundle
from components.finetune.component import finetune
from components.gate_esd.component import gate_esd
from components.prepare_data.component import prepare_data
from components.promote_or_rollback.component import promote_or_rollback
from components.publish_bundle.component import publish_bundle
from components.report.component import report
from components.smoke_test.component import smoke_test
from components.verify_parity.component import verify_parity


@dataclass(frozen=True)
class Links:
    """The components of the chain; one with the same inputs and outputs may stand in for any."""

    prepare_data: BaseComponent = prepare_data
    finetune: BaseComponent = finetune
    evaluate: BaseComponent = evaluate
    gate_esd: BaseComponent = gate_esd
    export_bundle: BaseComponent = export_bundle
    verify_parity: BaseComponent = verify_parity
    publish_bundle: BaseComponent = publish_bundle
    deploy_service: BaseComponent = deploy_service
    smoke_test: BaseComponent = smoke_test
    promote_or_rollback: BaseComponent = promote_or_rollback
    report: BaseComponent = report


class Wiring:
    """The pipeline over the given links; kfp calls its methods once, to trace them."""

    def __init__(self, links: Links) -> None:
        self.links = links
        self.body = dsl.pipeline(name="chain")(self.chain)  # before the other: kfp traces one at a time

    def chain(
        self,
        run_uri: str,
        dataset: str,
        chip: dict,
        recipe: str,
        init: str,
        role: str,
        champion: str,
        champion_report: str,
        destination: str,
        serving_dir: str,
        keep_serving: bool,
        jobs: int,
        accelerator: str,
        node_selector: dict,
        tolerations: list,
    ) -> None:
        """The links; see `finetune_and_deploy`."""
        links = self.links
        prepared = _step(links.prepare_data, run_uri=run_uri, dataset=dataset, chip=chip, jobs=jobs)
        data = prepared.outputs["data"]
        training = _step(
            links.finetune, run_uri=run_uri, recipe=recipe, init=init, role=role, jobs=jobs, data=data
        )
        evaluation = _step(
            links.evaluate,
            run_uri=run_uri,
            champion=champion,
            champion_report=champion_report,
            jobs=jobs,
            data=data,
            model=training.outputs["model"],
        )
        gate = _step(
            links.gate_esd,
            run_uri=run_uri,
            recipe=recipe,
            challenger=evaluation.outputs["challenger"],
            in_service=evaluation.outputs["in_service"],
        )
        for task in (training, evaluation):
            task.set_accelerator_type(accelerator)
            kubernetes.add_node_selector_json(task, node_selector)
            kubernetes.add_toleration_json(task, tolerations)
        with dsl.If(gate.outputs["Output"] == True, name="gate-passed"):  # noqa: E712  (a channel, no bool)
            candidate = _step(links.export_bundle, run_uri=run_uri, model=training.outputs["model"])
            parity = _step(
                links.verify_parity,
                run_uri=run_uri,
                jobs=jobs,
                data=data,
                candidate=candidate.outputs["candidate"],
            )
            bundle = parity.outputs["bundle"]
            location = _step(
                links.publish_bundle, run_uri=run_uri, destination=destination, bundle=bundle
            ).output
            self._serve(run_uri, location, champion, data, serving_dir, keep_serving)

    def _serve(
        self,
        run_uri: str,
        location: str,
        champion: str,
        data: dsl.Dataset,
        serving_dir: str,
        keep_serving: bool,
    ) -> None:
        """From the published bundle to the one that answers; `location` and `data` are outputs of tasks."""
        place = {"serving_dir": serving_dir, "keep_serving": keep_serving, "run_uri": run_uri}
        service = _step(self.links.deploy_service, location=location, champion=champion, **place).output
        passed = _step(self.links.smoke_test, run_uri=run_uri, service=service, data=data).output
        _step(self.links.promote_or_rollback, service=service, passed=passed, **place)

    def finetune_and_deploy(
        self,
        run_uri: str,
        destination: str,
        serving_dir: str,
        dataset: str = "",
        chip: dict = {},  # noqa: B006  (kfp copies it into the YAML)
        recipe: str = "",
        init: str = "nano",
        role: str = "patch",
        champion: str = "",
        champion_report: str = "",
        keep_serving: bool = False,
        jobs: int = 0,
        accelerator: str = "",
        node_selector: dict = {},  # noqa: B006
        tolerations: list = [],  # noqa: B006
    ) -> None:
        """Fine-tunes a model, and deploys it if it passes the ESD gate, the parity gate and a smoke test.

        Args:
            run_uri: folder for records and report, a path or `s3://bucket/prefix`.
            destination: bundles are published below it.
            serving_dir: folder for the services of this machine.
            dataset: a folder or `s3://bucket/prefix`; empty: `chip` is drawn.
            chip: what is drawn, see `etchline.synthesis.chip.ChipRequest`.
            recipe: YAML text; its section `gate` has the gate's limits.
            init: first weights: random, a checkpoint, nano, a bundle's folder or `s3://`.
            role: patch, full, both or single.
            champion: the bundle in service: nano, a folder or `s3://`; empty: a first deployment.
            champion_report: its report on the same images, where it has been judged already; it then segments
                one image only, for the picture.
            keep_serving: whether the promoted service goes on after the run.
            jobs: processes of each step; 0: one for each core.
            accelerator: resource name of the GPU that fine-tuning and evaluation ask for; empty: none.
            node_selector: labels of the nodes for them.
            tolerations: of those nodes' taints.
        """
        with dsl.ExitHandler(_step(self.links.report, run_uri=run_uri), name="reported"):
            _step(
                self.body,
                run_uri=run_uri,
                dataset=dataset,
                chip=chip,
                recipe=recipe,
                init=init,
                role=role,
                champion=champion,
                champion_report=champion_report,
                destination=destination,
                serving_dir=serving_dir,
                keep_serving=keep_serving,
                jobs=jobs,
                accelerator=accelerator,
                node_selector=node_selector,
                tolerations=tolerations,
            )


def _step(component: Any, **inputs: Any) -> dsl.PipelineTask:  # noqa: ANN401  (kfp's)
    """A task of a component that is never taken from kfp's cache.

    Each leaves a record in the run's folder, the dataset may have changed where it lies, and a service that
    was started once does not run for ever.
    """
    return component(**inputs).set_caching_options(False)


def build(links: Links | None = None) -> Any:  # noqa: ANN401  (kfp's)
    """The pipeline, wired of the given links."""
    return dsl.pipeline(name="finetune-and-deploy")(Wiring(links or Links()).finetune_and_deploy)


finetune_and_deploy = build()
