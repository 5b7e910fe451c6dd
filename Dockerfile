# The image of every service in docker-compose.yml but Postgres.
#
#     docker build --tag posthog-etl .
#
# The base image needs Python 3.11 or newer with pip and venv, and useradd:
#
#     docker build --tag posthog-etl --build-arg BASE=registry.example/python:3.13 .

ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY .ci/constraints.txt .ci/
COPY etl/ etl/
COPY migrations/ migrations/
RUN python -m venv --without-pip /opt/posthog-etl \
    && python -m pip --python /opt/posthog-etl install --no-cache-dir \
       --disable-pip-version-check --constraint .ci/constraints.txt .

FROM ${BASE}
# Nothing installs anything here again, and nobody in it is root.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
       --shell /usr/sbin/nologin posthog-etl
COPY --from=build /opt/posthog-etl /opt/posthog-etl
ENV PATH="/opt/posthog-etl/bin:$PATH" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["posthog-etl"]
CMD ["--help"]
