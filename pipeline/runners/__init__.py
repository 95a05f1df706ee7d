"""Where the DAG runs: `local` here, `kubeflow` and `vertex` compiled for a cluster."""
