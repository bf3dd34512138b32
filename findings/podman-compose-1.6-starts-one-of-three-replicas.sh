#!/usr/bin/env bash
# PyPI: podman-compose 1.6.0, with a program in podman's place that only records how it is called.
# Guess: keys of the Compose specification are carried out by podman's own options of the same names (--platform, --network, --no-cache, --pull; a config
# is a file in the container), or it says what it leaves out, as it does of conditions of `depends_on`. Replicas are as many containers.
# Seen: `replicas: 3` is one container, unless `mode: replicated` stands beside it, which docker compose does without; then the image is built three
# times, too. platforms, network, no_cache and pull of `build` and `configs` are dropped without a word, so that the image is for the wrong machine and the
# program has no settings. `pid: service:web` reaches podman as it is, and a date without quotes in `environment` is a traceback.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q podman-compose==1.6.0
mkdir bin project
cat >bin/podman <<SH
#!/bin/sh
echo "podman \$*" >>$dir/called
case \$1 in
  --version) echo podman version 5.4.2 ;;
  ps) echo '[]' ;;
esac
SH
chmod +x bin/podman
echo 'FROM scratch' >project/Dockerfile
echo 'level: debug' >project/app.yaml
cat >project/compose.yaml <<'YAML'
services:
  web:
    build: {context: ., platforms: [linux/arm64], network: none, no_cache: true, pull: true}
    image: web
    configs: [{source: app, target: /etc/app.yaml}]
    deploy: {replicas: 3}
  side:
    image: side
    pid: service:web
configs: {app: {file: ./app.yaml}}
YAML
call() {
  rm -f called
  PATH=$dir/bin:$PATH venv/bin/podman-compose -f project/compose.yaml "$@" >said 2>&1 || tail -n 1 said
  { grep -E "^podman ${*: -1} " called || true; } | sed -e 's/--label [^ ]* //g' -e "s,$dir,,g"
}
containers() { sed -n 's/^podman create/create/p' called | grep -oE 'name=[a-z0-9_]*|--pid [^ ]*|app\.yaml' | paste -sd' '; }
{
  call build
  call up --no-start
  containers
  sed -i 's/replicas: 3/&, mode: replicated/' project/compose.yaml
  call build
  call up --no-start
  containers
  sed -i 's/image: side/&\n    environment: {BUILT: 2026-11-29}/' project/compose.yaml
  call up --no-start
} | tee seen
diff seen - <<'SEEN'
podman build -f /project/Dockerfile -t web /project
name=project_web_1 name=project_side_1 --pid service:web
podman build -f /project/Dockerfile -t web /project
podman build -f /project/Dockerfile -t web /project
podman build -f /project/Dockerfile -t web /project
name=project_web_1 name=project_web_2 name=project_web_3 name=project_side_1 --pid service:web
TypeError: Object of type date is not JSON serializable
SEEN
