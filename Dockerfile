# docker build -t understudy .
# docker run --read-only --tmpfs /tmp -v ./gateway.yaml:/etc/understudy/gateway.yaml:ro -v understudy:/var/lib/understudy \
#     -p 127.0.0.1:8080:8080 -e APP_KEY -e ADMIN_KEY understudy
#
# The config listens on 0.0.0.0:8080 (so it needs keys). A SQLite store belongs into /var/lib/understudy; with Redis that
# volume is not needed. Nothing else is written but /tmp.

FROM python:3.13-slim-trixie AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# pip stays outside of what is shipped. What it installs changes seldom, the source often: two layers.
RUN python -m venv --without-pip /opt/understudy
COPY deploy/requirements.txt /src/deploy/
RUN pip --python /opt/understudy install --only-binary :all: -r /src/deploy/requirements.txt
COPY . /src
RUN pip --python /opt/understudy install --no-deps /src

FROM python:3.13-slim-trixie
RUN pip uninstall --yes --root-user-action ignore pip \
    && useradd --system --uid 10001 --user-group --home-dir /var/lib/understudy --create-home understudy
COPY --from=build /opt/understudy /opt/understudy
ENV PATH=/opt/understudy/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/understudy
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
CMD ["understudy", "serve", "-c", "/etc/understudy/gateway.yaml"]
