"""Which precision trains fastest on this CPU, and runs on it at all: tried, never read from flags.

A CPU may list instructions that its hypervisor does not let it run, and bfloat16 may be slower
than float32 on one that has it. So with `training.precision: auto` each candidate trains some
steps of the very model, in a process of its own that may die. What was measured is kept beside
the step's outputs for this CPU, these library versions and this model, and not in what decides
the step's result: another machine measures for itself, and takes a finished training as it is.
"""

from __future__ import annotations

import logging
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Collection, Sequence

import keras
import numpy as np
import pydantic
import tensorflow as tf

from components.base import child
from components.base.errors import DenoiseError
from components.base.files import digest, write_json
from components.base.libraries import untouched
from components.base.progress import tell
from components.training import recipe
from components.training.job import Job
from components.training.result import Candidate

FILE = "precision.json"
"""In a step's folder: candidates as they were measured, by what they were measured for."""
ISA = "ONEDNN_MAX_CPU_ISA"
"""Highest instruction set that oneDNN uses; it reads this before its first computation."""
_ISA_FORMERLY = "DNNL_MAX_CPU_ISA"

FLOAT32 = Candidate(precision="float32")
CANDIDATES = (
    FLOAT32,
    Candidate(precision="mixed_bfloat16"),
    # Without AMX and the float16 instructions, which not every hypervisor lets run.
    Candidate(precision="mixed_bfloat16", environment={ISA: "AVX512_CORE_BF16"}),
)
"""In order of preference, where two are about as fast."""

_MARGIN = 1.05
"""How many times as fast a less preferred candidate must be."""
_HOPELESS = 0.5
"""Below this share of the fastest one's speed fewer instructions do not make a precision the
fastest: a CPU without bfloat16 has an eighth with it."""
_SECONDS = 3.0
"""How long a candidate is measured, at least,"""
_STEPS = 3
"""and how many steps."""
_LIMIT_SECONDS = 120.0
"""A candidate that is not done by then is too slow."""
_CPU = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")

_LOG = logging.getLogger(__name__)
_Known = pydantic.TypeAdapter(dict[str, list[Candidate]])


def images_per_second(job: Job, candidate: Candidate) -> float:
    """How fast a job's model trains with a candidate, on images of noise: median of some steps."""
    settings = job.training.model_copy(update={"steps_per_execution": 1})
    keras.utils.set_random_seed(job.seed)
    denoiser = recipe.denoiser(
        job.model.name, job.image.shape, job.model.arguments, candidate.precision
    )
    model = recipe.training_model(denoiser, job.noise.training, settings, 1000, job.seed)
    random = np.random.default_rng(job.seed)
    images = random.random((settings.batch_size, *job.image.shape), np.float32)
    model.train_on_batch(images, images)  # Traces, and allocates.
    seconds: list[float] = []
    while len(seconds) < _STEPS or sum(seconds) < _SECONDS:
        started = time.perf_counter()
        model.train_on_batch(images, images)
        seconds.append(time.perf_counter() - started)
    return settings.batch_size / statistics.median(seconds)


def measured(
    job: Job,
    folder: pathlib.Path,
    candidates: Sequence[Candidate] = CANDIDATES,
    measure: Callable[[Job, Candidate], float] = images_per_second,
) -> list[Candidate]:
    """The candidates with what they reach on this machine; measured once.

    Args:
      job: What is to be trained.
      folder: Where measurements are kept: the step's.
      candidates: What to try, in this order. One that sets variables is tried only where
        TensorFlow has done nothing yet in this process, so that they can be set in it, and where
        the same precision without them is not far slower than another.
      measure: A function of a module; gives images/s.
    """
    clean = untouched()
    limited = ISA in os.environ or _ISA_FORMERLY in os.environ
    wanted = [each for each in candidates if not each.environment or (clean and not limited)]
    file, key = folder / FILE, _key(job)
    known = _read(file)
    tried = {each.name: each for each in known.get(key, [])}
    for each in wanted:
        if each.name in tried or (each.environment and _hopeless(each.precision, tried.values())):
            continue
        tell("precision", 0, None, f"tries how fast {each.name} trains here")
        tried[each.name], lasting = _try(job, each, measure, fork=clean)
        if lasting:
            known.setdefault(key, []).append(tried[each.name])
            found = {**_read(file), key: known[key]}
            write_json(file, _Known.dump_python(found, mode="json"))
    return [tried[each.name] for each in wanted if each.name in tried]


def _hopeless(policy: str, tried: Collection[Candidate]) -> bool:
    """Whether a precision trained with all instructions, and far slower than another."""
    fast = max((each.images_per_second or 0 for each in tried), default=0)
    return any(
        0 < (each.images_per_second or 0) < _HOPELESS * fast
        for each in tried
        if each.precision == policy and not each.environment
    )


def fastest(tried: Sequence[Candidate]) -> Candidate:
    """The fastest of those that could train, the preferred one where two are about as fast.

    Where none could, float32: the training then tells why.
    """
    best = FLOAT32
    for each in tried:
        if (each.images_per_second or 0) > _MARGIN * (best.images_per_second or 0):
            best = each
    return best


def _try(
    job: Job, candidate: Candidate, measure: Callable[[Job, Candidate], float], fork: bool
) -> tuple[Candidate, bool]:
    """What came of it, and whether it holds for the next run: an error in Python may be mended."""
    lasting = True
    try:
        rate = child.call(
            measure,
            job,
            candidate,
            fork=fork,
            environment=candidate.environment,
            seconds=_LIMIT_SECONDS,
        )
    except child.DiedError as error:
        reason = error.reason
    except TimeoutError as error:
        reason = str(error)
    except DenoiseError:
        raise
    except Exception as error:
        reason, lasting = f"{type(error).__name__}: {error}", False
    else:
        return candidate.model_copy(update={"images_per_second": rate}), True
    _LOG.warning("training.precision=auto: %s cannot train here: %s", candidate.name, reason)
    return candidate.model_copy(update={"error": reason}), lasting


def _key(job: Job) -> str:
    """Fingerprint of everything that decides how fast the candidates are."""
    decides = [
        _cpu(),
        os.cpu_count(),
        os.environ.get(ISA, os.environ.get(_ISA_FORMERLY)),
        tf.__version__,
        keras.__version__,
        job.code,
        job.image.shape,
        job.model.model_dump(mode="json"),
        job.noise.training,
        job.training.model_dump(
            mode="json", include={"batch_size", "optimizer", "noise", "jit_compile"}
        ),
    ]
    return digest(decides)


def _cpu() -> list[str]:
    """What tells this CPU from another, as the kernel describes the first one."""
    try:
        first = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return []
    return [line for line in first.splitlines() if line.partition("\t")[0].strip() in _CPU]


def _read(file: pathlib.Path) -> dict[str, list[Candidate]]:
    try:
        return _Known.validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _LOG.warning("%s cannot be read, so it is measured anew: %s", file, error)
        return {}
