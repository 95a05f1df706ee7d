"""Kubeflow Pipelines: `compile` writes the pipeline's file and submits it, `container` is what runs
in each pod, `dry_run` runs the file here as Kubeflow would.
"""
