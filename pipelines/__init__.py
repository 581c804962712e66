"""Pipelines of Kubeflow Pipelines: which component gets what of which; nothing else."""
