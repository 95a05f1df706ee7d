"""What runs, in which order, with which settings, where: the DAG, its runners, the command."""
