# The image of every step on Kubeflow, and of the `denoise` command.
#
#   docker build -t denoise .                       for CPUs
#   docker build -t denoise:gpu --build-arg GPU=1 . with CUDA, for the Trainer
#
# BASE is Debian 13, whose Python 3.13 and glibc 2.41 take the modern set of requirements.lock.
ARG BASE=debian:13.1-slim

# Dependencies: compiled and installed here, so that no compiler is in the image.
FROM ${BASE} AS dependencies
ARG GPU=0
# Only while building: a certificate of the network's own package mirror.
ARG PIP_CERT
ENV DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates g++ python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /build/
RUN python3 -m venv /opt/denoise \
 && /opt/denoise/bin/python -m pip install --quiet --no-deps --require-hashes \
    --requirement /build/requirements.lock
# CUDA comes as wheels, of versions in the ranges that the locked TensorFlow names; nothing else
# changes (--constraint).
RUN if [ "${GPU}" = 1 ]; then \
      /opt/denoise/bin/python -m pip freeze > /build/installed.txt \
      && version=$(sed -n 's/^tensorflow==//p' /build/installed.txt) \
      && /opt/denoise/bin/python -m pip install --quiet \
        --constraint /build/installed.txt "tensorflow[and-cuda]==${version}"; \
    fi

# The project, as a wheel.
FROM dependencies AS project
COPY pyproject.toml setup.py README.md LICENSE /build/
COPY pipeline /build/pipeline
COPY components /build/components
COPY serving /build/serving
RUN /opt/denoise/bin/python -m pip wheel --quiet --no-deps --no-index --no-build-isolation \
    --wheel-dir /wheel /build

FROM ${BASE}
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libgomp1 python3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --no-log-init --create-home denoise \
 # KFP's launcher keeps artifacts here, under whichever user a cluster makes it run.
 && mkdir -p /s3 /minio /gcs /oci /workspace \
 && chmod 1777 /s3 /minio /gcs /oci /workspace
COPY --from=dependencies /opt/denoise /opt/denoise
COPY --from=project /wheel /wheel
RUN /opt/denoise/bin/python -m pip install --no-deps --no-index --no-cache-dir --quiet /wheel/*.whl
ENV PATH=/opt/denoise/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# As components/base/libraries.py has it, for processes that others start here: Dataflow's workers.
ENV TF_ENABLE_ONEDNN_OPTS=1 OPENBLAS_THREAD_TIMEOUT=4
USER 10001
WORKDIR /workspace
# KFP gives `python -m pipeline.runners.kubeflow.container` as its command; people give `denoise`'s words.
ENTRYPOINT ["denoise"]
CMD ["--help"]
