# pod: every stage of an iteration, for NVIDIA GPUs, on vLLM's official image, whose packages are checked and kept.
ARG VLLM_IMAGE=docker.io/vllm/vllm-openai:v0.32.0

FROM ${VLLM_IMAGE} AS packages
# A dependency of reasoning-gym is distributed as source only.
# hadolint ignore=DL3008,DL3009
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev
COPY docker/install.py requirements/images/pod.txt /build/
RUN --mount=type=bind,source=docker/wheels,target=/wheels \
    --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3 /build/install.py packages /build/pod.txt /packages

FROM ${VLLM_IMAGE} AS project
COPY docker/install.py /build/
COPY pyproject.toml README.md LICENSE /source/
COPY requirements/lock.txt /source/requirements/
COPY components /source/components
COPY pipelines /source/pipelines
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3 /build/install.py project /source /project

FROM ${VLLM_IMAGE}
# Distributions keep only the newest build of a package, so versions cannot be pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap libseccomp2 \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
RUN groupadd --gid 10001 rapid \
    && useradd --uid 10001 --gid rapid --home-dir /tmp --no-create-home --shell /usr/sbin/nologin rapid \
    && rm -rf /var/log/* \
    && echo 'import site; site.addsitedir("/opt/rapid")' \
        > "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/rapid.pth"
COPY --from=packages /packages /opt/rapid
COPY requirements/images/pod.txt /opt/rapid/requirements.txt
COPY docker/check.py /opt/rapid/
COPY --from=project /project /opt/rapid
RUN python3 -B /opt/rapid/check.py pod
ENV PATH=/opt/rapid/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
# The base image's entry point would take a stage's command as its arguments.
ENTRYPOINT []
CMD ["rapid", "--help"]
ARG VLLM_IMAGE
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="rapid pod" \
    org.opencontainers.image.description="RAPID fine-tuning: sampling, grading and training in one pod, on NVIDIA GPUs" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.base.name="${VLLM_IMAGE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
