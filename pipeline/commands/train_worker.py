"""`denoise train-worker`: help another machine's run to train."""

from __future__ import annotations

from components.base.errors import UsageError
from pipeline.commands import options
from pipeline.commands.session import session
from pipeline.workspace import Workspace


def train_worker(
    workspace: options.Workspace = options.DEFAULT_WORKSPACE, verbose: options.Verbose = False
) -> None:
    """Help another machine's `denoise run` to train, with a workspace that both reach.

    That one runs with `--set training.strategy=multi_worker`; TF_CONFIG in the environment of
    each names all of them. Waits until it trains, and ends when it has; where the training is
    answered from the cache it waits on.

    Example: `denoise train-worker --workspace /mnt/shared/workspace`.
    """
    place = Workspace(workspace)
    with session(place.logs, "train-worker", verbose) as (_, _, steps), steps.step("Trainer"):
        from components.training import trainer, workers

        if workers.this_worker().leads:
            raise UsageError(
                "TF_CONFIG: says that this is the first worker, which is the one that `denoise "
                "run` is on. Give this one another index."
            )
        trainer.run(workers.wait_for_request(place.pipeline_root / "Trainer"))
