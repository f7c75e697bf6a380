# Every stage without a GPU, with the CPU builds of PyTorch and vLLM: for clusters on one machine, and for tests.
ARG PYTHON_IMAGE=docker.io/library/python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
# A dependency of reasoning-gym is distributed as source only.
# hadolint ignore=DL3008,DL3009
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev
COPY docker/install.py requirements/images/cpu.txt /build/
RUN --mount=type=bind,source=docker/wheels,target=/wheels \
    --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3 /build/install.py packages /build/cpu.txt /packages

FROM ${PYTHON_IMAGE} AS project
COPY docker/install.py /build/
COPY pyproject.toml README.md LICENSE /source/
COPY requirements/lock.txt /source/requirements/
COPY components /source/components
COPY pipelines /source/pipelines
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3 /build/install.py project /source /project

FROM ${PYTHON_IMAGE}
# Debian keeps only the newest build of a package, so versions cannot be pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap libseccomp2 libnuma1 \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
RUN groupadd --gid 10001 rapid \
    && useradd --uid 10001 --gid rapid --home-dir /tmp --no-create-home --shell /usr/sbin/nologin rapid \
    && rm -rf /var/log/* \
    && if python3 -m pip --version; then \
        python3 -m pip uninstall --yes --root-user-action=ignore --break-system-packages pip setuptools wheel; fi \
    && rm -f /usr/local/bin/pip* \
    && echo 'import site; site.addsitedir("/opt/rapid")' \
        > "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/rapid.pth"
COPY --from=packages /packages /opt/rapid
COPY requirements/images/cpu.txt /opt/rapid/requirements.txt
COPY docker/check.py /opt/rapid/
COPY --from=project /project /opt/rapid
RUN python3 -B /opt/rapid/check.py cpu
ENV PATH=/opt/rapid/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
CMD ["rapid", "--help"]
ARG PYTHON_IMAGE
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="rapid cpu" \
    org.opencontainers.image.description="RAPID fine-tuning: every stage without a GPU" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
