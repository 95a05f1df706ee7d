"""Runs the DAG: `local` here, `kubeflow` and `vertex` compiled for a cluster."""
