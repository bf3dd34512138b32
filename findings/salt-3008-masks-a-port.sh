#!/usr/bin/env bash
# PyPI: salt 3008.4 (masterless: file_client local).
# Guess: `salt-call pillar.get app:port --out=newline_values_only`, which scripts of images use to read one setting, prints 80, or, now that 3008 masks
# secrets, masks what is named like one.
# Seen: it prints ********** for 80 and for true, and 0 and false as they are, all with exit code 0; so a script goes on with ten asterisks for a port.
# pillar.item does the same. pillar.raw and config.get print the values in the clear, and `unmask=True` makes pillar.get do so. In a state the
# value is itself.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q salt==3008.4
mkdir config pillar states
cat >config/minion <<YAML
id: it
file_client: local
root_dir: $dir/root
file_roots: {base: [$dir/states]}
pillar_roots: {base: [$dir/pillar]}
log_level: error
YAML
echo "base: {'*': [app]}" >pillar/top.sls
printf 'app: {port: 80, retries: 0, cache: true, debug: false}\n' >pillar/app.sls
cat >states/app.sls <<YAML
$dir/written:
  file.managed:
    - contents_pillar: app:port
YAML
call() { venv/bin/salt-call -c config --local --out=json "$@" 2>/dev/null; }
ask() {
  local code=0
  call "$@" >answer || code=$?
  echo "$*: $(python3 -c 'import json; print(json.dumps(json.load(open("answer"))["local"]))'), exit code $code"
}
{
  venv/bin/salt-call --version
  ask pillar.get app:port
  ask pillar.get app:retries
  ask pillar.get app:cache
  ask pillar.get app:debug
  ask pillar.item app:port
  ask pillar.get app:port unmask=True
  ask pillar.raw app
  ask config.get app:port
  call state.apply app >/dev/null
  echo "written by a state: $(cat written)"
} | tee seen
diff seen - <<'SEEN'
salt-call 3008.4 (Argon)
pillar.get app:port: "**********", exit code 0
pillar.get app:retries: 0, exit code 0
pillar.get app:cache: "**********", exit code 0
pillar.get app:debug: false, exit code 0
pillar.item app:port: {"app:port": "**********"}, exit code 0
pillar.get app:port unmask=True: 80, exit code 0
pillar.raw app: {"port": 80, "retries": 0, "cache": true, "debug": false}, exit code 0
config.get app:port: 80, exit code 0
written by a state: 80
SEEN
