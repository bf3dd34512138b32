#!/usr/bin/env bash
# Debian 12: buildah 1.28.2+ds1-3+deb12u1 (what `podman build` 4.3 of Debian 12 is, too). Needs root.
# Guess: an image in Docker's format (`--format docker`) gets the configuration that `docker build` writes: SHELL is the shell of a later CMD and
# ENTRYPOINT, a range in EXPOSE is each of its ports, and protocols are lower case.
# Seen: SHELL is stored and holds for RUN alone: `SHELL ["/bin/bash", "-o", "pipefail", "-c"]` and `CMD a | b` is /bin/sh -c. EXPOSE keeps 90-92/udp
# and 7/TCP as they are written, which are no ports to Docker (20.10 and 26.1 list 90/udp, 91/udp, 92/udp and 7/tcp). Nothing is said.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq buildah=1.28.2* libgpgme11 libsubid4 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >policy.json
mkdir context
echo hello >context/file
buildah() { "$dir/root/usr/bin/buildah" --root "$dir/storage" --runroot "$dir/run" --storage-driver vfs "$@"; }
cat >Dockerfile <<'DOCKERFILE'
FROM scratch
COPY file /
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENTRYPOINT exec serve
CMD a | b
EXPOSE 80 90-92/udp 7/TCP
DOCKERFILE
{
  buildah --version | cut -d' ' -f1-3
  image=$(buildah bud --quiet --format docker --signature-policy policy.json -f Dockerfile context 2>said)
  echo "said: $(wc -l <said) lines"
  buildah inspect --type image "$image" | python3 -c '
import json, sys
config = json.load(sys.stdin)["Docker"]["config"]
for name in ["Shell", "Entrypoint", "Cmd"]:
    print(name, json.dumps(config[name]))
print("ExposedPorts", *sorted(config["ExposedPorts"]))'
} | tee seen
diff seen - <<'SEEN'
buildah version 1.28.2
said: 0 lines
Shell ["/bin/bash", "-o", "pipefail", "-c"]
Entrypoint ["/bin/sh", "-c", "exec serve"]
Cmd ["/bin/sh", "-c", "a | b"]
ExposedPorts 7/TCP 80/tcp 90-92/udp
SEEN
