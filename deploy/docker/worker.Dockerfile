# The Rust programs: streamify-stream (the worker), streamify-batch, streamify-generate.
#
#   docker build -f deploy/docker/worker.Dockerfile -t streamify/worker:0.1.0 .
#
# Needs BuildKit (the default since Docker 23) for the cache mounts: a second build compiles only what has changed.
ARG RUST_VERSION=1.95.0
ARG DEBIAN_VERSION=12.15

FROM rust:${RUST_VERSION}-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential cmake libcurl4-openssl-dev libssl-dev pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY contracts contracts
COPY rust rust
# The results are copied out of the cached target folder in the same step: a cache mount is no part of the image.
RUN --mount=type=cache,id=streamify-cargo,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=streamify-target,target=/src/target,sharing=locked \
    cargo build --release --locked --bin streamify-stream --bin streamify-batch --bin streamify-generate \
    && install -D --strip --target-directory=/out \
        target/release/streamify-stream target/release/streamify-batch target/release/streamify-generate

FROM debian:${DEBIAN_VERSION}-slim
# curl: for health checks.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ /usr/local/bin/
COPY deploy/docker/with-variables.sh /usr/local/bin/with-variables
# Another user than root; compose sets yours, because only you can read the credentials that its bootstrap writes.
ARG UID=10001
RUN useradd --uid "${UID}" --no-create-home --shell /usr/sbin/nologin streamify \
    && install -d -o streamify /var/lib/streamify
USER ${UID}
WORKDIR /var/lib/streamify
# Drains and commits within 9 s of the signal.
STOPSIGNAL SIGTERM
ENTRYPOINT ["with-variables"]
CMD ["streamify-stream"]
