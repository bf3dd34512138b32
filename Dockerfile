# The daemon in an image, built from source:
#
#   docker build -t image-factory .
#
# or in seconds from a binary that `make build` made on the same release of Debian:
#
#   docker build -t image-factory --target prebuilt .
#
# docs/operating.md says how to run it.
ARG BASE=debian:12-slim
ARG RUST=rust:1.95-slim-bookworm

FROM ${BASE} AS runtime
# Packages are fetched only if the base lacks one of these programs.
RUN if ! { command -v git && command -v ssh && command -v setpriv && [ -e /etc/ssl/certs/ca-certificates.crt ]; } >/dev/null; then \
      apt-get update && \
      apt-get install -y --no-install-recommends ca-certificates git libgmp10 libhogweed6 libnettle8 openssh-client && \
      rm -rf /var/cache/apt/* /var/lib/apt/lists/*; \
    fi && \
    groupadd --gid 8080 image-factory && \
    useradd --uid 8080 --gid 8080 --home-dir /var/lib/image-factory --no-log-init --shell /usr/sbin/nologin image-factory && \
    install -d -o image-factory -g image-factory -m 700 /var/lib/image-factory
# The licences of what is in the binary, and the list of its exact sources.
COPY LICENSE THIRD-PARTY-NOTICES.txt Cargo.lock /usr/share/doc/image-factory/
ENV DATA_DIR=/var/lib/image-factory LISTEN=0.0.0.0:8080
VOLUME /var/lib/image-factory
EXPOSE 8080
# `init` starts as root, because only root can give the daemon the socket's group; the daemon itself runs as user 8080.
STOPSIGNAL SIGTERM
# The daemon answers, and its database does.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["image-factory", "health"]
ENTRYPOINT ["image-factory"]
CMD ["init"]

# Also a Docker Engine, which `init` starts in a privileged container without a socket. In old kernels the links to
# iptables-legacy take the place of iptables; /etc/docker is there because an engine keeps its key in it.
FROM runtime AS runtime-with-engine
RUN if ! { command -v dockerd && command -v iptables && command -v fuse-overlayfs; } >/dev/null; then \
      apt-get update && \
      apt-get install -y --no-install-recommends docker.io fuse-overlayfs iptables && \
      rm -rf /var/cache/apt/* /var/lib/apt/lists/*; \
    fi && \
    mkdir -p /etc/docker /usr/libexec/image-factory/iptables-legacy && \
    for name in iptables ip6tables; do for part in "" -save -restore; do \
      ln -s "/usr/sbin/$name-legacy$part" "/usr/libexec/image-factory/iptables-legacy/$name$part"; \
    done; done

FROM runtime AS prebuilt
ARG BINARY=target/release/image-factory
COPY ${BINARY} /usr/bin/image-factory

FROM runtime-with-engine AS prebuilt-with-engine
ARG BINARY=target/release/image-factory
COPY ${BINARY} /usr/bin/image-factory

FROM ${RUST} AS build
RUN apt-get update && \
    apt-get install -y --no-install-recommends clang libclang-dev libprotobuf-dev make nettle-dev pkg-config protobuf-compiler
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM runtime-with-engine AS with-engine
COPY --from=build /src/target/release/image-factory /usr/bin/image-factory

FROM runtime
COPY --from=build /src/target/release/image-factory /usr/bin/image-factory
