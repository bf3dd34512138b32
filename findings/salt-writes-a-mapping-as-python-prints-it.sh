#!/usr/bin/env bash
# PyPI: salt 3008.4 (masterless: file_client local).
# Guess: file.managed with a mapping for `contents` or `contents_pillar` is refused, as the documentation knows texts and lists of lines, or written as YAML
# or JSON, from which it came.
# Seen: the file is OrderedDict([('name', 'web'), …]), in one line, and the state is a success. A mapping in a list becomes such a line, too, and true
# becomes True, so that no program whose settings are YAML, JSON or TOML reads what it gets.
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
printf 'app: {name: web, ports: [80, 443], debug: true}\n' >pillar/app.sls
cat >states/app.sls <<YAML
$dir/of-a-pillar: {file.managed: [{contents_pillar: app}]}
$dir/of-a-list: {file.managed: [{contents: [first, true, {port: 80}]}]}
$dir/of-a-boolean: {file.managed: [{contents_pillar: 'app:debug'}]}
YAML
{
  venv/bin/salt-call --version
  venv/bin/salt-call -c config --local --out=json state.apply app 2>/dev/null >answer
  for name in of-a-pillar of-a-list of-a-boolean; do
    echo "$name: $(python3 - "$dir/$name" <<'PY'
import json, sys
print(*(state["result"] for state in json.load(open("answer"))["local"].values() if state["__id__"] == sys.argv[1]))
PY
)"
    sed 's/^/  /' "$name"
  done
} | tee seen
diff seen - <<'SEEN'
salt-call 3008.4 (Argon)
of-a-pillar: True
  OrderedDict([('name', 'web'), ('ports', [80, 443]), ('debug', True)])
of-a-list: True
  first
  True
  OrderedDict([('port', 80)])
of-a-boolean: True
  True
SEEN
