# docker build -t understudy .
# docker run -v ./gateway.yaml:/etc/understudy/gateway.yaml:ro -p 127.0.0.1:8080:8080 understudy

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/understudy
ENV PATH=/opt/understudy/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY . .
RUN pip install . && pip uninstall --yes pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/understudy --create-home understudy
COPY --from=build /opt/understudy /opt/understudy
ENV PATH=/opt/understudy/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER understudy
WORKDIR /var/lib/understudy
VOLUME /var/lib/understudy
EXPOSE 8080
STOPSIGNAL SIGTERM
CMD ["understudy", "serve", "-c", "/etc/understudy/gateway.yaml"]
