# syntax=docker/dockerfile:1
# The server as an image: docker build -t metatune .
# It runs as nobody in particular, on a root file system that may be read-only; what it keeps goes to /data, and for a
# moment to /tmp. See docs/deploy.md.

# A tag, which its publisher keeps up to date; docs/deploy.md says how to hold it at one digest.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/metatune && /opt/metatune/bin/pip install "pip==26.3"
# What an API process needs, and nothing else; requirements-worker.lock brings what jobs need beside it.
ARG REQUIREMENTS=requirements-api.lock
COPY requirements.lock requirements-api.lock requirements-worker.lock ./
RUN /opt/metatune/bin/pip install --require-hashes --requirement "${REQUIREMENTS}"
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
RUN /opt/metatune/bin/pip install --no-deps --build-constraint requirements.lock . \
    && /opt/metatune/bin/pip uninstall --yes pip \
    && /opt/metatune/bin/python -m compileall -q /opt/metatune/lib

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 metatune \
    && useradd --uid 10001 --gid metatune --no-create-home --shell /usr/sbin/nologin metatune \
    && install --directory --owner metatune --group metatune --mode 0750 /data
COPY --from=build /opt/metatune /opt/metatune
ENV PATH=/opt/metatune/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    METATUNE_HOST=0.0.0.0 \
    METATUNE_PORT=8000 \
    METATUNE_AUTH=required \
    METATUNE_DATABASE=sqlite:////data/metatune.db \
    JAX_COMPILATION_CACHE_DIR=/tmp/jax
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# Is the process up? Whether its database answers is /readyz's to say, and no reason to start it again.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['METATUNE_PORT'] + '/healthz', timeout=4)"]
ENTRYPOINT ["metatune-server"]
CMD ["serve"]
