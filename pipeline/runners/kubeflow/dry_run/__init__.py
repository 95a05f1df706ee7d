"""Runs a compiled pipeline here, step by step, as Kubeflow would."""
