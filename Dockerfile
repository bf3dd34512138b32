# The daemon in an image. As it is, from source:
#
#   docker build -t image-factory .
#
# or with a binary that `make build` made on the same release of Debian, in seconds:
#
#   docker build -t image-factory --target prebuilt .
#
# README.md tells how to run it.
ARG BASE=debian:12-slim
ARG RUST=rust:1.95-slim-bookworm

FROM ${BASE} AS runtime
# What the base has already is not fetched.
RUN if ! { command -v git && command -v ssh && command -v setpriv && [ -e /etc/ssl/certs/ca-certificates.crt ]; } >/dev/null; then \
      apt-get update && \
      apt-get install -y --no-install-recommends ca-certificates git libgmp10 libhogweed6 libnettle8 openssh-client && \
      rm -rf /var/cache/apt/* /var/lib/apt/lists/*; \
    fi && \
    groupadd --gid 8080 image-factory && \
    useradd --uid 8080 --gid 8080 --home-dir /var/lib/image-factory --no-log-init --shell /usr/sbin/nologin image-factory && \
    install -d -o image-factory -g image-factory -m 700 /var/lib/image-factory
ENV DATA_DIR=/var/lib/image-factory LISTEN=0.0.0.0:8080
VOLUME /var/lib/image-factory
EXPOSE 8080
# By its number, which Kubernetes can tell from root's. The engine's socket is for its group: --group-add.
USER 8080:8080
STOPSIGNAL SIGTERM
# It answers, and its database does.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["image-factory", "jobs", "--limit", "1"]
ENTRYPOINT ["image-factory"]
CMD ["serve"]

FROM runtime AS prebuilt
ARG BINARY=target/release/image-factory
COPY ${BINARY} /usr/bin/image-factory

FROM ${RUST} AS build
RUN apt-get update && \
    apt-get install -y --no-install-recommends clang libclang-dev libprotobuf-dev make nettle-dev pkg-config protobuf-compiler
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM runtime
COPY --from=build /src/target/release/image-factory /usr/bin/image-factory
