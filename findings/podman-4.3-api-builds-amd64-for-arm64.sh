#!/usr/bin/env bash
# Debian 12: podman 4.3.1+ds1-8+deb12u1 (`podman system service`, Docker's API 1.41), with conmon and crun. PyPI: docker 7.1.0, its client. Needs root.
# Guess: what docker-py sends to Docker does the same here, or is refused with the reason; each image in /system/df has its names and labels; and an
# image that is asked for as linux/arm64 is one.
# Seen: extra_hosts of a build is 400 with an empty body, so that the client says only "Bad Request ("")". In /system/df the image demo/app:1 is
# called "1", once for each tag, and has no labels. And the same Dockerfile FROM scratch, built for amd64 and then
# for arm64, is amd64 both times, by the cache, which does not look at the platform; with nocache it is arm64.
set -euo pipefail
dir=$(mktemp -d)
trap '[ -z "${podman:-}" ] || { kill "$podman" && wait "$podman" || true; }; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq podman=4.3.1* conmon crun libgpgme11 libsubid4 libyajl2 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
python3 -m venv venv
venv/bin/pip install -q docker==7.1.0
mkdir -p home/.config/containers networks plugins tmp
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >home/.config/containers/policy.json
cat >containers.conf <<CONF
[engine]
conmon_path = ["$dir/root/usr/bin/conmon"]
runtime = "crun"
events_logger = "none"
[engine.runtimes]
crun = ["$dir/root/usr/bin/crun"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["$dir/plugins"]
network_config_dir = "$dir/networks"
CONF
printf '[storage]\ndriver = "vfs"\nrunroot = "%s/run"\ngraphroot = "%s/storage"\n' "$dir" "$dir" >storage.conf
echo 'unqualified-search-registries = ["docker.io"]' >registries.conf
env HOME="$dir/home" TMPDIR="$dir/tmp" LD_LIBRARY_PATH="$dir/root/usr/lib/x86_64-linux-gnu" CONTAINERS_CONF="$dir/containers.conf" \
  CONTAINERS_STORAGE_CONF="$dir/storage.conf" CONTAINERS_REGISTRIES_CONF="$dir/registries.conf" \
  root/usr/bin/podman --cgroup-manager cgroupfs --tmpdir "$dir/tmp" system service --time=0 "unix://$dir/socket" >log 2>&1 &
podman=$!
for _ in $(seq 300); do ! curl -sf --unix-socket socket http://engine/_ping >/dev/null || break; sleep 0.1; done
mkdir context
printf 'FROM scratch\nLABEL team=web\nCOPY file /\n' >context/Dockerfile
echo hello >context/file
cat >try.py <<'PY'
import os
import docker
client = docker.DockerClient(base_url=f"unix://{os.getcwd()}/socket", version="1.41")
print("podman", client.version()["Version"])

def build(what, **options):
    try:
        image, _ = client.images.build(path="context", **options)
        print(f"{what}: {image.attrs['Architecture']}")
    except docker.errors.APIError as error:
        print(f"{what}: {error.status_code}, explanation {error.explanation!r}")

build("for amd64", tag="demo/app:1", platform="linux/amd64")
build("for arm64", tag="demo/app:2", platform="linux/arm64")
for image in sorted(client.df()["Images"], key=lambda image: image["RepoTags"]):
    if image["RepoTags"] != ["<none>"]:
        print("in /system/df:", image["RepoTags"], image["Labels"])
listed = [image for image in client.images.list() if image.tags]
print("in /images/json:", *(sorted(image.tags) for image in listed), *(image.labels["team"] for image in listed))
build("for arm64 with nocache", tag="demo/app:2", platform="linux/arm64", nocache=True)
build("with extra_hosts", tag="demo/app:3", extra_hosts={"mirror": "192.0.2.1"})
PY
venv/bin/python try.py | tee seen
diff seen - <<'SEEN'
podman 4.3.1
for amd64: amd64
for arm64: amd64
in /system/df: ['1'] {}
in /system/df: ['2'] {}
in /images/json: ['docker.io/demo/app:1', 'docker.io/demo/app:2'] web
for arm64 with nocache: arm64
with extra_hosts: 400, explanation ''
SEEN
