#!/usr/bin/env bash
# npm: composerize 1.7.6 (makes a compose file of a `docker run` command). Debian 13: docker-compose 2.26.1-4, which reads that file. No engine is needed.
# Guess: the container of the file is the one of the command: values are the same, `$` being written as `$$`, and options that it cannot say are in
# its comment of ignored ones.
# Seen: PASSWORD=a$b arrives as "a", because compose replaces $b, and in `sh -c 'echo $HOME'` the home is that of whoever calls compose. A mount
# with `readonly` can be written. `--stop-timeout 5` and `src=` make files that compose refuses, and `-eA=b` a variable "true".
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund composerize@1.7.6 >/dev/null
mkdir -p trixie/lists/partial trixie/archives/partial
touch trixie/status
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Codename: bookworm' | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive trixie main" >trixie/sources.list
trixie() {
  apt-get -qq -o Dir::Etc::SourceList="$dir/trixie/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$dir/trixie/lists" \
    -o Dir::State::status="$dir/trixie/status" -o Dir::Cache="$dir/trixie" -o APT::Sandbox::User=root "$@"
}
trixie update
trixie download 'docker-compose=2.26.1*'
dpkg -x docker-compose_*.deb root
cat >convert.mjs <<'JS'
import composerize from "composerize";
console.log(composerize(process.argv[2], null, "latest", 2).replace("<your project name>", "it"));
JS
cat >show.py <<'PY'
import json, sys
service = json.load(sys.stdin)["services"]["web"]
for name in ("command", "environment", "volumes", "stop_grace_period"):
    if service.get(name):
        print(f"  {name}: {json.dumps(service[name])}".replace("$$", "$"))
PY
try() {
  echo "docker run $1"
  node convert.mjs "docker run $1" >compose.yaml
  grep '^# ' compose.yaml | grep -v '^# *$' || true
  if HOME=/home/caller b='' root/usr/libexec/docker/cli-plugins/docker-compose -f compose.yaml config --format json >config.json 2>said; then
    python3 show.py <config.json
  else
    sed 's/^/  /' said
  fi
}
{
  try "-e 'PASSWORD=a\$b' web"
  try "web sh -c 'echo \$HOME'"
  try "--mount type=bind,source=/srv,target=/srv,readonly web"
  try "--mount type=volume,src=data,dst=/data web"
  try "--stop-timeout 5 web"
  try "-eA=b web"
} | tee seen
diff seen - <<'SEEN'
docker run -e 'PASSWORD=a$b' web
  environment: {"PASSWORD": "a"}
docker run web sh -c 'echo $HOME'
  command: ["sh", "-c", "echo /home/caller"]
docker run --mount type=bind,source=/srv,target=/srv,readonly web
  volumes: [{"type": "bind", "source": "/srv", "target": "/srv"}]
docker run --mount type=volume,src=data,dst=/data web
  service volume services.web.volumes.[0] is missing a mount target
docker run --stop-timeout 5 web
  decoding failed due to the following error(s):
  
  error decoding 'services[web].stop_grace_period': time: missing unit in duration "5"
docker run -eA=b web
# ignored options for 'web'
# -A=b
  environment: {"true": null}
SEEN
