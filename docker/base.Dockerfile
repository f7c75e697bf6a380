# prepare, publish and the launcher of training jobs: neither torch nor vLLM.
ARG PYTHON_IMAGE=docker.io/library/python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
# A dependency of reasoning-gym is distributed as source only.
# hadolint ignore=DL3008,DL3009
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev
COPY docker/install.py requirements/images/base.txt /build/
RUN --mount=type=bind,source=docker/wheels,target=/wheels \
    --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3 /build/install.py packages /build/base.txt /packages

FROM ${PYTHON_IMAGE} AS project
COPY docker/install.py /build/
COPY pyproject.toml README.md LICENSE /source/
COPY requirements/lock.txt /source/requirements/
COPY components /source/components
COPY pipelines /source/pipelines
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3 /build/install.py project /source /project

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 rapid \
    && useradd --uid 10001 --gid rapid --home-dir /tmp --no-create-home --shell /usr/sbin/nologin rapid \
    && rm -rf /var/log/* \
    && if python3 -m pip --version; then \
        python3 -m pip uninstall --yes --root-user-action=ignore --break-system-packages pip setuptools wheel; fi \
    && rm -f /usr/local/bin/pip* \
    && echo 'import site; site.addsitedir("/opt/rapid")' \
        > "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/rapid.pth"
COPY --from=packages /packages /opt/rapid
COPY requirements/images/base.txt /opt/rapid/requirements.txt
COPY docker/check.py /opt/rapid/
COPY --from=project /project /opt/rapid
RUN python3 -B /opt/rapid/check.py base
ENV PATH=/opt/rapid/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
CMD ["rapid", "--help"]
ARG PYTHON_IMAGE
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="rapid base" \
    org.opencontainers.image.description="RAPID fine-tuning: prepare, publish and the launcher of training jobs" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
