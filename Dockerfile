# Serves a saved router on port 8080, on a CPU:
#   docker build -t unirouter .
#   docker run -p 8080:8080 -v "$PWD/runs/quickstart/router:/router" unirouter
FROM python:3.12-slim AS build
# torch for CPUs alone; the one of PyPI comes with 3 GB of CUDA
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m venv /opt/unirouter
ENV PATH=/opt/unirouter/bin:$PATH
COPY constraints.txt /src/
RUN pip install --no-cache-dir --constraint /src/constraints.txt --extra-index-url "$TORCH_INDEX" "torch==2.13.0+cpu"
COPY . /src
RUN pip install --no-cache-dir --constraint /src/constraints.txt "/src[serve]"

FROM python:3.12-slim
COPY --from=build /opt/unirouter /opt/unirouter
ENV PATH=/opt/unirouter/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --uid 1000 --create-home unirouter
USER 1000
WORKDIR /home/unirouter
EXPOSE 8080
HEALTHCHECK --interval=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=5)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["unirouter"]
CMD ["serve", "--router", "/router", "--host", "0.0.0.0"]
