"""Open-source Kubeflow Pipelines: `compile` and `check` make the pipeline, `file` writes and reads
it, `parameters` are what a run is given, `submit` starts it, `container` runs in each pod, and
`dry_run` runs the file on this machine as Kubeflow would.
"""
