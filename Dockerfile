# One file, five images: coordinator (light), worker (CPU), worker-gpu (NVIDIA), monitor (Flower), serve (the page and
# the HTTP API; light).
# What they install is held by constraints.txt, the versions that the tests ran with.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1
# The directories belong to the user before a volume is mounted on them: a new, empty volume takes that over.
RUN useradd --uid 1000 --create-home lookalike \
 && install -d -o lookalike -g lookalike /jobs /models
WORKDIR /home/lookalike

# The wheel of this repository. Only the last, small layer of each image depends on the code.
FROM base AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY lookalike lookalike
COPY coordinator coordinator
COPY shared shared
COPY workers workers
RUN pip wheel --no-deps --wheel-dir /wheel .

# The same distribution without code: installing it brings the dependencies, in a layer that lasts until
# pyproject.toml or constraints.txt changes.
FROM base AS empty
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
RUN for room in lookalike coordinator shared workers; do mkdir $room && touch $room/__init__.py; done

FROM empty AS coordinator
RUN pip install -c constraints.txt ".[coordinator]"
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-deps --force-reinstall /wheel/*.whl
WORKDIR /home/lookalike
USER lookalike
CMD ["lookalike", "--help"]

FROM empty AS monitor
RUN pip install -c constraints.txt ".[monitor]"
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-deps --force-reinstall /wheel/*.whl
WORKDIR /home/lookalike
USER lookalike
CMD ["lookalike", "flower", "--address", "0.0.0.0"]

FROM empty AS serve
RUN pip install -c constraints.txt ".[serve]"
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-deps --force-reinstall /wheel/*.whl
WORKDIR /home/lookalike
USER lookalike
CMD ["lookalike", "serve", "--jobs-root", "/jobs"]

FROM empty AS worker
# Where Keras keeps the weights that it downloads, and lookalike what it makes of them: the volume `models`.
ENV KERAS_HOME=/models LOOKALIKE_CACHE_DIR=/models/lookalike TF_CPP_MIN_LOG_LEVEL=2
RUN pip install -c constraints.txt ".[worker]"
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-deps --force-reinstall /wheel/*.whl
WORKDIR /home/lookalike
USER lookalike
CMD ["lookalike", "worker", "embed", "merge", "query"]

# CUDA comes with the wheels, so the image needs no CUDA of its own; the driver comes from the host.
FROM empty AS worker-gpu
ENV KERAS_HOME=/models TF_CPP_MIN_LOG_LEVEL=2 NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN pip install -c constraints.txt ".[gpu]"
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-deps --force-reinstall /wheel/*.whl
WORKDIR /home/lookalike
USER lookalike
CMD ["lookalike", "worker", "embed"]
