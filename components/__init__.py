"""Components of Kubeflow Pipelines: each one thin function around one link of `etchline.chain`."""
