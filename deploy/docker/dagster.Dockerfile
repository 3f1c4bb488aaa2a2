# Dagster with the code location, our extension module, and the Rust programs that its assets launch.
#
#   docker build -f deploy/docker/dagster.Dockerfile -t streamify/dagster:0.1.0 .
#
# One image, three commands: the code location's server (where runs run), the web server, the daemon.
ARG RUST_VERSION=1.95.0
ARG PYTHON_VERSION=3.11.14
ARG UV_VERSION=0.9.5

FROM ghcr.io/astral-sh/uv:${UV_VERSION} AS uv
FROM rust:${RUST_VERSION}-slim-bookworm AS rust

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential cmake libcurl4-openssl-dev libssl-dev pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=uv /uv /usr/local/bin/uv
COPY --from=rust /usr/local/cargo /usr/local/cargo
COPY --from=rust /usr/local/rustup /usr/local/rustup
ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup PATH=/usr/local/cargo/bin:$PATH \
    UV_PROJECT_ENVIRONMENT=/opt/streamify/venv UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /src
COPY Cargo.toml Cargo.lock pyproject.toml uv.lock ./
COPY contracts contracts
COPY rust rust
COPY dagster_project dagster_project
# The package as a wheel, made by maturin, with what the lock file says beside it. The target folder is the worker image's.
RUN --mount=type=cache,id=streamify-uv,target=/root/.cache/uv \
    --mount=type=cache,id=streamify-cargo,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=streamify-target,target=/src/target,sharing=locked \
    uv sync --frozen --no-default-groups --no-editable --extra postgres \
    && cargo build --release --locked --bin streamify-stream --bin streamify-batch --bin streamify-generate \
    && install -D --strip --target-directory=/out \
        target/release/streamify-stream target/release/streamify-batch target/release/streamify-generate
# The project's instance settings, and Postgres.
COPY deploy/dagster deploy/dagster
RUN install -d /opt/streamify/dagster \
    && cat dagster_project/dagster.yaml deploy/dagster/postgres.yaml > /opt/streamify/dagster/dagster.yaml \
    && cp deploy/dagster/workspace.yaml /opt/streamify/dagster/

FROM python:${PYTHON_VERSION}-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ /usr/local/bin/
COPY --from=build /opt/streamify /opt/streamify
COPY contracts /opt/streamify/contracts
COPY deploy/docker/with-variables.sh /usr/local/bin/with-variables
ENV PATH=/opt/streamify/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DAGSTER_HOME=/opt/streamify/dagster STREAMIFY_BIN_DIR=/usr/local/bin \
    STREAMIFY_CONTRACTS=/opt/streamify/contracts STREAMIFY_HOME=/var/lib/dagster/streamify
# Another user than root; compose sets yours, because only you can read the credentials that its bootstrap writes.
ARG UID=10001
RUN useradd --uid "${UID}" --no-create-home --shell /usr/sbin/nologin streamify \
    && install -d -o streamify /var/lib/dagster
USER ${UID}
WORKDIR /var/lib/dagster
STOPSIGNAL SIGTERM
ENTRYPOINT ["with-variables"]
CMD ["dagster", "api", "grpc", "--host", "0.0.0.0", "--port", "4000", "--module-name", "dagster_project.definitions"]
