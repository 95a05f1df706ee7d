"""Do healthy clients notice that others attack the server?

    python -m benchmarks.serving.soak [--minutes 2] [--attackers 3] [--healthy 2]

Healthy clients send single images by gRPC and REST and ask for status and health: first alone,
then while attackers send what benchmarks.serving.attacks holds, in a random order. Exit status 1
when a healthy request failed, when the 99th percentile of their times is ten times that of the
idle server, or when the server's memory is not back within 5 % afterwards.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import pathlib
import random
import sys
import tempfile
import time
from typing import Any

import grpc
import httpx
import numpy as np
import psutil

from benchmarks.serving import attacks, h2load, subject
from components.base.errors import DenoiseError
from serving.protocol.dtypes import DataType
from serving.protocol.wire import field

_IDLE_SECONDS = 20.0
_SETTLE_SECONDS = 45.0
"""The process that reads large bodies ends by itself in the meantime."""
_PAUSE_SECONDS = 0.02
_LIMIT_SECONDS = 30.0
P99_RATIO = 10.0
MEMORY_RATIO = 1.05


def healthy(server: attacks.Server, end: Any, results: Any) -> None:
    """Sends requests until `end` is set; puts the seconds of each, by kind, and the failures."""
    pixels = subject.example_pixels(1)
    image = (pixels.reshape(-1, *subject.SHAPE) / 255).astype(np.float32)
    values = field(5, image.tobytes())
    message = attacks.predict(
        "serving_default", image=attacks.tensor(DataType.FLOAT, image.shape, values)
    )
    body = json.dumps({"signature_name": "predict_pixels", "instances": pixels.tolist()}).encode()
    seconds: dict[str, list[float]] = {"grpc": [], "rest": [], "status": [], "health": []}
    failures: list[str] = []
    with (
        grpc.insecure_channel(server.grpc) as channel,
        httpx.Client(timeout=_LIMIT_SECONDS) as client,
    ):
        predict = channel.unary_unary(h2load.PREDICT)
        health = channel.unary_unary("/grpc.health.v1.Health/Check")
        calls = {
            "grpc": lambda: predict(message, timeout=_LIMIT_SECONDS),
            "rest": lambda: client.post(
                f"{server.rest}{attacks.PATH}:predict", content=body
            ).raise_for_status(),
            "status": lambda: client.get(f"{server.rest}{attacks.PATH}").raise_for_status(),
            "health": lambda: health(b"", timeout=_LIMIT_SECONDS),
        }
        while not end.is_set():
            for kind, call in calls.items():
                start = time.perf_counter()
                try:
                    call()
                except (grpc.RpcError, httpx.HTTPError) as error:
                    failures.append(f"{kind}: {error!r}"[:300])
                seconds[kind].append(time.perf_counter() - start)
                time.sleep(_PAUSE_SECONDS)
    results.put((seconds, failures))


def attacker(server: attacks.Server, end: Any, seed: int, results: Any) -> None:
    """Attacks until `end` is set; puts how often it did with what, and the answers."""
    available = attacks.attacks(1.0)
    order = sorted(available)
    random.Random(seed).shuffle(order)
    counts: dict[str, int] = {}
    answers: set[str] = set()
    for name in itertools.cycle(order):
        if end.is_set():
            break
        answers.add(available[name](server).split(" ")[0])
        counts[name] = counts.get(name, 0) + 1
    results.put((counts, answers))


def soak(model: pathlib.Path | None, minutes: float, attackers: int, number: int) -> dict[str, Any]:
    """Figures by name; times in milliseconds, memory in MiB."""
    context = multiprocessing.get_context("spawn")

    def run(target: Any, many: int, *arguments: Any) -> tuple[list[Any], Any, Any]:
        results, end = context.Queue(), context.Event()
        processes = []
        for position in range(many):
            more = (position,) if target is attacker else ()
            processes.append(
                context.Process(target=target, args=(*arguments, end, *more, results), daemon=True)
            )
            processes[-1].start()
        return processes, end, results

    def ended(processes: list[Any], end: Any, results: Any) -> list[Any]:
        end.set()
        found = [results.get(timeout=600) for _ in processes]
        for process in processes:
            process.join()
        return found

    with tempfile.TemporaryDirectory() as folder:
        path = subject.newest(model, pathlib.Path(folder))
        with subject.server(path.parent) as (grpc_url, rest_url, pid):
            server = attacks.Server(grpc_url.removeprefix("http://"), rest_url)
            process = psutil.Process(pid)
            # What a server takes once, for its first requests of every kind and for one of as
            # many images as it takes, is not kept memory.
            for send in attacks.attacks(0.01).values():
                send(server)
            attacks.attacks(1.0)["images of one value, as many as are taken"](server)
            alone = run(healthy, number, server)
            time.sleep(_IDLE_SECONDS)
            idle = ended(*alone)
            time.sleep(_SETTLE_SECONDS)
            before = attacks.memory_mib(process)
            clients = run(healthy, number, server)
            enemies = run(attacker, attackers, server)
            highest = alone_highest = before
            until = time.monotonic() + minutes * 60
            while time.monotonic() < until:
                highest = max(highest, attacks.memory_mib(process))
                alone_highest = max(alone_highest, process.memory_info().rss / 2**20)
                time.sleep(0.1)
            attacked = ended(*clients)
            fought = ended(*enemies)
            time.sleep(_SETTLE_SECONDS)
            after = attacks.memory_mib(process)
    figures: dict[str, Any] = {"minutes": minutes, "attackers": attackers, "healthy": number}
    for when, found in (("idle", idle), ("attacked", attacked)):
        every: list[float] = []
        for kind in found[0][0]:
            times = [second for seconds, _ in found for second in seconds[kind]]
            every += times
            figures[f"{when}_{kind}_p99_ms"] = float(np.percentile(times, 99)) * 1e3
        figures[f"{when}_requests"] = len(every)
        for percent in (50, 99, 100):
            figures[f"{when}_p{percent}_ms"] = float(np.percentile(every, percent)) * 1e3
    failures = [failure for _, failed in (*idle, *attacked) for failure in failed]
    figures["healthy_failed"] = len(failures)
    figures["first_failures"] = failures[:3]
    figures["kinds"] = len(attacks.attacks(1.0))
    figures["kinds_of_attack"] = len(set().union(*(counts for counts, _ in fought)))
    figures["attacks"] = sum(sum(counts.values()) for counts, _ in fought)
    figures["answers"] = sorted(set().union(*(answers for _, answers in fought)))
    figures |= {"memory_before_mib": before, "memory_highest_mib": highest}
    figures["memory_highest_without_json_reader_mib"] = alone_highest
    figures["memory_after_mib"] = after
    return figures


def verdicts(figures: dict[str, Any]) -> dict[str, bool]:
    """Each condition that must hold, with True if it does."""
    return {
        "attacks of every kind were made": figures["kinds_of_attack"] == figures["kinds"],
        "no healthy request failed": figures["healthy_failed"] == 0,
        f"p99 under {P99_RATIO:g} x that of the idle server": figures["attacked_p99_ms"]
        < P99_RATIO * figures["idle_p99_ms"],
        "memory back within 5 %": figures["memory_after_mib"]
        <= MEMORY_RATIO * figures["memory_before_mib"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=pathlib.Path, help="a SavedModel or a folder of versions")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--attackers", type=int, default=3)
    parser.add_argument("--healthy", type=int, default=2)
    arguments = parser.parse_args()
    try:
        figures = soak(arguments.model, arguments.minutes, arguments.attackers, arguments.healthy)
    except DenoiseError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    held = verdicts(figures)
    rounded = {k: round(v, 2) if isinstance(v, float) else v for k, v in figures.items()}
    print(json.dumps({**rounded, "held": held}, indent=1))
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
