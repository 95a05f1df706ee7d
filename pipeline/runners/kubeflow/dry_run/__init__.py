"""Runs a compiled pipeline on this machine as open-source Kubeflow Pipelines does, by its parts:
`driver` says what a task is given, `launcher` runs its container, `state` is the metadata store
and the cache, `run` goes through the tasks.
"""
