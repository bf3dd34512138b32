#!/usr/bin/env bash
# Debian 13: docker-buildx 0.13.1+ds1-3 and docker-compose 2.26.1-4, with Debian 12's libc. No engine is needed.
# Guess: `docker buildx bake`, which reads compose.yaml by compose's own library, builds what `docker compose build` builds, in parallel; what it cannot do
# it names.
# Seen: `nofile: 1024` becomes nofile=0:0; platforms, network, extra_hosts, ssh, pull and no_cache of `build` are dropped without a word (some have
# another key under x-bake); an image with further `tags` loses its own name; and a service of a profile that nobody asked for is built.
# So the image that is deployed by its name is the old one, or one of another platform, with exit code 0.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir -p trixie/lists/partial trixie/archives/partial
touch trixie/status
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Codename: bookworm' | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive trixie main" >trixie/sources.list
trixie() {
  apt-get -qq -o Dir::Etc::SourceList="$dir/trixie/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$dir/trixie/lists" \
    -o Dir::State::status="$dir/trixie/status" -o Dir::Cache="$dir/trixie" -o APT::Sandbox::User=root "$@"
}
trixie update
trixie download 'docker-buildx=0.13.1*' 'docker-compose=2.26.1*'
for package in *.deb; do dpkg -x "$package" root; done
export DOCKER_CONFIG=$dir/config
mkdir project
cd project
cat >compose.yaml <<'YAML'
services:
  web:
    image: registry.example/web:1
    build:
      context: .
      tags: ["registry.example/web:latest"]
      platforms: [linux/arm64]
      network: none
      extra_hosts: ["mirror:192.0.2.1"]
      ssh: [default]
      pull: true
      no_cache: true
      ulimits:
        nofile: 1024
        nproc: {soft: 512, hard: 1024}
  tool:
    profiles: [debug]
    build: .
YAML
cat >../show.py <<'PY'
import json, sys
services, targets = (json.load(open(name)) for name in sys.argv[1:])
services, targets = services["services"], targets["target"]
print("compose builds", *sorted(services))
print("bake builds", *sorted(targets))
build, target = services["web"]["build"], targets["web"]
names = {"no_cache": "no-cache", "extra_hosts": "extra-hosts", "network": "networkmode"}
print("tags:", [services["web"]["image"], *build["tags"]], "->", target["tags"])
for key in ["ulimits", "platforms", "network", "extra_hosts", "ssh", "pull", "no_cache"]:
    print(f"{key}:", json.dumps(build[key]), "->", json.dumps(sorted(target.get(names.get(key, key), [])) or None))
PY
{
  ../root/usr/libexec/docker/cli-plugins/docker-buildx version | cut -d' ' -f2
  ../root/usr/libexec/docker/cli-plugins/docker-compose config --format json >../compose.json
  code=0
  ../root/usr/libexec/docker/cli-plugins/docker-buildx bake --print >../bake.json 2>../said || code=$?
  echo "exit code $code, $(grep -ci warn ../said || true) warnings"
  python3 ../show.py ../compose.json ../bake.json
} | tee ../seen
diff ../seen - <<'SEEN'
0.13.1+ds1
exit code 0, 0 warnings
compose builds web
bake builds tool web
tags: ['registry.example/web:1', 'registry.example/web:latest'] -> ['registry.example/web:latest']
ulimits: {"nofile": 1024, "nproc": {"soft": 512, "hard": 1024}} -> ["nofile=0:0", "nproc=512:1024"]
platforms: ["linux/arm64"] -> null
network: "none" -> null
extra_hosts: ["mirror=192.0.2.1"] -> null
ssh: ["default"] -> null
pull: true -> null
no_cache: true -> null
SEEN
