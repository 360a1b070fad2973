# bids_mfi as a container image. Two stages: the first installs, the second runs.
#
#   docker build -t bids_mfi .                                            CUDA build of PyTorch
#   docker build -t bids_mfi:cpu --build-arg TORCH=cpu .                  CPU only; see docs/docker.md
#
# Versions are those of requirements.lock. Wheels in the folder container/wheels go
# before those of the package index.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG TORCH=cuda
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_INPUT=1
WORKDIR /src
RUN python3 -m venv /opt/venv
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY container container
RUN sh container/install.sh dependencies "${TORCH}" "${TORCH_INDEX}"
COPY bids_mfi bids_mfi
RUN sh container/install.sh package

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bids_mfi" \
      org.opencontainers.image.description="Muscle fat infiltration of the neck from Dixon MRI, as a BIDS App. Research software, not a medical device." \
      org.opencontainers.image.licenses="Apache-2.0 AND CC-BY-SA-4.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/venv /opt/venv
RUN ln -s /opt/venv/bin/bids_mfi /opt/venv/bin/bids_mfi_tools /usr/local/bin/
# Nothing is written outside OUTPUT_DIR and the work folder, so that any user may run it with a
# read-only root and an unwritable HOME.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    NIPYPE_NO_ET=1 \
    NO_ET=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONNOUSERSITE=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_VISIBLE_DEVICES=all
USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["/usr/local/bin/bids_mfi"]
