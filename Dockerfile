# The daemon in an image, built from source:
#
#   docker build -t image-factory .
#
# or in seconds from a binary that `make build` made on the same release of Debian:
#
#   docker build -t image-factory --target prebuilt .
#
# docs/container.md says how to run it, and what is in it.
ARG BASE=debian:12-slim
ARG RUST=rust:1.95-slim-bookworm

# Packages are fetched only if the base lacks one of these programs.
FROM ${BASE} AS packages
RUN if ! { command -v busybox && command -v docker && command -v git && command -v sshd && [ -e /etc/ssl/certs/ca-certificates.crt ]; } >/dev/null; then \
      apt-get update && \
      apt-get install -y --no-install-recommends busybox ca-certificates docker.io git libgmp10 libhogweed6 libnettle8 openssh-client openssh-server \
        $(apt-cache --names-only search '^docker-cli$' | cut -d ' ' -f 1); \
    fi
COPY scripts/image-root /usr/local/bin/image-root
# Git's helper programs in Perl are not among them, nor are its servers. The libraries are the binary's own.
ARG PROGRAMS="/usr/bin/busybox /usr/bin/docker /usr/bin/git /usr/bin/git-upload-pack /usr/lib/git-core/git-remote-http /usr/lib/git-core/git-remote-https \
      /usr/bin/setpriv /usr/bin/ssh /usr/bin/ssh-keygen /usr/bin/ssh-keyscan /usr/sbin/sshd /usr/lib/openssh/sshd-* ca-certificates /etc/ssl/certs/ca-certificates.crt \
      /usr/lib/*/libgcc_s.so.1 /usr/lib/*/libgmp.so.10 /usr/lib/*/libhogweed.so.6 /usr/lib/*/libm.so.6 /usr/lib/*/libnettle.so.8"
RUN sh /usr/local/bin/image-root /root-without-engine $PROGRAMS

FROM packages AS packages-with-engine
RUN if ! { command -v dockerd && command -v iptables && command -v fuse-overlayfs; } >/dev/null; then \
      apt-get update && \
      apt-get install -y --no-install-recommends docker.io fuse-overlayfs iptables tini; \
    fi
RUN sh /usr/local/bin/image-root /root-of-engine --beside /root-without-engine /usr/bin/containerd /usr/bin/containerd-shim-runc-v2 /usr/bin/docker-init \
      /usr/bin/fuse-overlayfs /usr/sbin/docker-proxy /usr/sbin/dockerd /usr/sbin/runc /usr/sbin/iptables* /usr/sbin/ip6tables* /usr/sbin/xtables-* /usr/lib/*/xtables

FROM scratch AS runtime
COPY --from=packages /root-without-engine/ /
# The daemon is the user 8080. Whoever logs in by ssh is `factory`, whose password `*` is no password.
RUN printf '%s\n' 'root:*:0:0::/root:/bin/sh' 'sshd:*:101:65534::/run/sshd:/bin/false' \
      'image-factory:*:8080:8080::/var/lib/image-factory:/bin/false' 'factory:*:8081:8081::/:/bin/sh' 'nobody:*:65534:65534::/:/bin/false' >/etc/passwd && \
    printf '%s\n' 'root:x:0:' 'tty:x:5:' 'image-factory:x:8080:' 'factory:x:8081:' 'nogroup:x:65534:' >/etc/group && \
    mkdir -p /var/lib/image-factory && \
    chown 8080:8080 /var/lib/image-factory && chmod 700 /var/lib/image-factory
# The licences of what is in the binary, and the list of its exact sources.
COPY LICENSE THIRD-PARTY-NOTICES.txt Cargo.lock /usr/share/doc/image-factory/
LABEL org.opencontainers.image.title="Image Factory" \
      org.opencontainers.image.description="Turns a Git push into an image in a registry" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DATA_DIR=/var/lib/image-factory LISTEN=0.0.0.0:8080
VOLUME /var/lib/image-factory
EXPOSE 22 8080
# `init` starts as root, because only root can give the daemon the socket's group. The daemon, or another subcommand in
# its place, runs as user 8080.
STOPSIGNAL SIGTERM
# The daemon answers, and its database does.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["image-factory", "health"]
ENTRYPOINT ["image-factory", "init"]
CMD ["serve"]

# Also a Docker Engine, which `init` starts in a privileged container without a socket. In old kernels the links to
# iptables-legacy take the place of iptables; /etc/docker is there because an engine keeps its key in it.
FROM runtime AS runtime-with-engine
COPY --from=packages-with-engine /root-of-engine/ /
RUN mkdir -p /etc/docker /usr/libexec/image-factory/iptables-legacy && \
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
