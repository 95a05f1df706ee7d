"""Prometheus metrics under TF Serving's names.

TF Serving turns `/tensorflow/serving/request_count` into `:tensorflow:serving:request_count`
and writes counters without prometheus_client's `_total`
(tensorflow_serving/util/prometheus_exporter.cc), so the text is written here; the counting
is prometheus_client's.
"""

from __future__ import annotations

import functools

import prometheus_client
from prometheus_client import CollectorRegistry

from serving.protocol.codes import Code

DEFAULT_PATH = "/monitoring/prometheus/metrics"


def _exponential(scale: float, growth: float, buckets: int) -> list[float]:
    """Bucket limits as monitoring::Buckets::Exponential gives them, less the infinite one."""
    return [scale * growth**i for i in range(buckets)]


# Buckets of tensorflow_serving/servables/tensorflow/util.cc and batching_session.cc.
_LATENCY_BUCKETS = _exponential(10, 1.8, 33)
_QUEUING_BUCKETS = _exponential(100, 1.2, 52)
_EXAMPLE_BUCKETS = _exponential(1, 2, 15)


class Metrics:
    """What one server counts. Times are recorded in microseconds."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter = functools.partial(prometheus_client.Counter, registry=self._registry)
        histogram = functools.partial(prometheus_client.Histogram, registry=self._registry)
        serving = ":tensorflow:serving:"
        self._requests = counter(serving + "request_count", "Requests.", ["model_name", "status"])
        self._latency = histogram(
            serving + "request_latency",
            "Wall time of requests in microseconds.",
            ["model_name", "API", "entrypoint"],
            buckets=_LATENCY_BUCKETS,
        )
        self._runtime = histogram(
            serving + "runtime_latency",
            "Wall time of TensorFlow in microseconds.",
            ["model_name", "API", "runtime"],
            buckets=_LATENCY_BUCKETS,
        )
        self._example_counts = histogram(
            serving + "request_example_counts",
            "tf.Examples in a request.",
            ["model"],
            buckets=_EXAMPLE_BUCKETS,
        )
        self._example_total = counter(
            serving + "request_example_count_total", "tf.Examples.", ["model"]
        )
        self._queuing = histogram(
            serving + "batching_session:queuing_latency",
            "Wall time in the batching queue in microseconds.",
            ["thread_pool_name"],
            buckets=_QUEUING_BUCKETS,
        )
        self._batches = counter(serving + "batching_session:wrapped_run_count", "Batches computed.")
        self._batch_sizes = counter(
            serving + "batching_session:processed_batch_size_v2",
            "Batches computed, by size.",
            ["model_name", "op_name", "batch_size"],
        )
        self._loads = counter(
            ":tensorflow:cc:saved_model:load_attempt_count",
            "Attempts to load a SavedModel.",
            ["model_path", "status"],
        )
        self._load_latency = counter(
            ":tensorflow:cc:saved_model:load_latency",
            "Time of successful loads in microseconds.",
            ["model_path"],
        )
        self._warmup = histogram(
            serving + "model_warmup_latency",
            "Wall time of warm-up in microseconds.",
            ["model_path", "status"],
            buckets=_LATENCY_BUCKETS,
        )

    def request(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """A request was answered.

        Args:
          model: The model's name, which the caller knows to exist: a client must not be able
            to make labels.
          api: `Predict`, `Classify`, `Regress` or `MultiInference`.
          entrypoint: `GRPC` or `REST`.
          code: How it ended.
          seconds: Wall time.
        """
        self._requests.labels(model, code.name).inc()
        if code == Code.OK:
            self._latency.labels(model, api, entrypoint).observe(seconds * 1e6)

    def runtime(self, model: str, api: str, seconds: float) -> None:
        """TensorFlow computed something."""
        self._runtime.labels(model, api, "TF1").observe(seconds * 1e6)

    def examples(self, model: str, count: int) -> None:
        """A request brought tf.Examples."""
        self._example_counts.labels(model).observe(count)
        self._example_total.labels(model).inc(count)

    def queuing(self, pool: str, seconds: float) -> None:
        """A task left the batching queue."""
        self._queuing.labels(pool).observe(seconds * 1e6)

    def batch(self, size: int) -> None:
        """A batch was computed."""
        self._batches.inc()
        self._batch_sizes.labels("", "", str(size)).inc()

    def load(self, path: str, succeeded: bool, seconds: float) -> None:
        """A SavedModel was loaded, or not."""
        self._loads.labels(path, "success" if succeeded else "fail").inc()
        if succeeded:
            self._load_latency.labels(path).inc(seconds * 1e6)

    def warmup(self, path: str, code: Code, seconds: float) -> None:
        """A model's warm-up requests were replayed."""
        self._warmup.labels(path, code.name).observe(seconds * 1e6)

    def page(self) -> str:
        """All metrics in Prometheus' text format."""
        lines = []
        for family in self._registry.collect():
            name = family.name
            suffix = ""
            if family.type == "counter" and name + "_total" != _EXAMPLE_TOTAL:
                suffix = "_total"
            elif family.type == "counter":
                name = _EXAMPLE_TOTAL
            lines.append(f"# TYPE {name} {family.type}")
            for sample in family.samples:
                if sample.name.endswith("_created"):
                    continue
                labels = ",".join(
                    f'{key}="{_escape(value)}"' for key, value in sample.labels.items()
                )
                lines.append(f"{sample.name.removesuffix(suffix)}{{{labels}}} {sample.value:.16g}")
        return "\n".join(lines) + "\n"


_EXAMPLE_TOTAL = ":tensorflow:serving:request_example_count_total"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
