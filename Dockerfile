# A server of lens-plugins with both hosts that ship, the page, and everything that they need: no network when it runs.
#
#   docker build -t lens-plugins:cuda .                          # for NVIDIA GPUs: docker run --gpus all
#   docker build --build-arg TORCH_INDEX=URL -t lens-plugins .   # for CPUs: pytorch.org names the URL
#   docker run --rm -p 8000:8000 lens-plugins                    # the page is at http://localhost:8000
#
# Other hosts: docker run -p 8000:8000 -v models:/models lens-plugins --bind 0.0.0.0 --host /models/instructblip
# A key for everyone: -e LENS_PLUGINS_API_KEY=...
FROM python:3.11-slim

ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

RUN useradd --create-home --uid 10001 lens
WORKDIR /app
COPY --chown=lens:lens . /app

# the default index has torch for CUDA; for CPUs pytorch.org names another index, which is smaller by gigabytes
RUN pip install torch==2.13.0 ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
RUN pip install --constraint .constraints.txt --editable ".[serve,web,seed,draco,exr,index]"

USER lens
# the language model and the sentence encoder of the hosts that ship, so that the first request needs no network
RUN lens-plugins doctor --fetch

EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["lens-plugins", "serve"]
CMD ["--bind", "0.0.0.0", "--host", "pocket-instructblip", "--host", "pocket-seed-llama"]
