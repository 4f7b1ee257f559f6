# The README's two commands in an image.
#
#   docker build -t yolov1 .                              # make train: installed, and with runs/shapes
#   docker build --target tested .                        # ... and make test
#   docker build -t yolov1 --build-arg BASE=nvidia/cuda:12.9.1-cudnn-devel-ubuntu24.04 .   # CUDA
#
#   docker run yolov1                                     # lists the programs
#   docker run -v $PWD/photos:/photos yolov1 detect --checkpoint=runs/shapes --images=/photos
#
# Any base with apt and Python 3.11 to 3.13 does. That of CUDA has nvcc, which builds our kernels, and
# the libraries of CUDA 12 and cuDNN 9, which TensorFlow looks for; run it with --gpus=all.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS base
RUN apt-get update \
  && apt-get install -y --no-install-recommends g++ git make \
  && { command -v python3 || apt-get install -y --no-install-recommends python3-dev python3-venv; } \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /yolov1
COPY . .
# For the CUDA base, "90" say: all seven architectures take minutes more.
ARG YOLOV1_CUDA_ARCHITECTURES

FROM base AS trained
RUN make train

FROM trained AS tested
RUN make test

FROM trained
ENV PATH=/yolov1/.venv/bin:$PATH
ENTRYPOINT ["yolov1"]
