# Stands in for an official CUDA image: what KEEP needs and nothing else, as root, with an entry point of its own.
ARG CPU_IMAGE=rapid-rl/cpu:test
FROM ${CPU_IMAGE}
# hadolint ignore=DL3002
USER 0
ARG KEEP
COPY trim.py /tmp/
RUN python3 /tmp/trim.py "${KEEP}" && userdel rapid && rm /tmp/trim.py
ENTRYPOINT ["false"]
