# What a node of a cluster runs, for Kubernetes (docs/cloud/kuberay.yaml) and for clusters that pull
# an image in place of installing: docker build --tag YOURS/rheobase:0.1.0 .
FROM python:3.11-slim-bookworm
# rsync is what `ray up` copies with, wget what Kubernetes asks nodes with.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends make rsync wget openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --home-dir /srv/rheobase --uid 1000 --shell /bin/bash rheobase
WORKDIR /opt/rheobase
COPY Makefile pyproject.toml README.md LICENSE requirements.lock requirements-cluster.lock ./
COPY platform platform
RUN PIP_NO_CACHE_DIR=1 make cluster exporter PYTHON=python3.11 \
    && ln -s /opt/rheobase/.venv/bin/ray /opt/rheobase/.venv/bin/rheobase /usr/local/bin/
COPY studies studies
ENV PATH=/opt/rheobase/.venv/bin:$PATH RAY_USAGE_STATS_ENABLED=0
USER rheobase
WORKDIR /srv/rheobase
