#!/usr/bin/env bash
# PyPI: salt 3008.4 (masterless: file_client local).
# Guess: states run in the order of their file, and what a state requires is run before it, in its place, with all that this requires in turn, as 3007.9 does
# (docs.saltproject.io, "Ordering States").
# Seen: a required state takes the place of what requires it directly, and not of what requires that. `settings` requires `user`, which requires `group` further
# below, and `start`, which stands behind `settings` and relies on it, runs first of all. With `user` alone the order is the file's. So one more
# `require`, in another state, starts a program before its settings are there, and the run is a success.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q salt==3008.4
mkdir states
cat >minion <<YAML
id: it
file_client: local
root_dir: $dir/root
file_roots: {base: [$dir/states]}
log_level: error
YAML
cat >states/app.sls <<'YAML'
settings:
  test.nop:
    - require: [{test: user}]
start:
  test.nop
user:
  test.nop
group:
  test.nop
YAML
order() {
  venv/bin/salt-call -c . --local --out=json state.apply app 2>/dev/null | python3 -c '
import json, sys
states = json.load(sys.stdin)["local"].values()
print(*(state["__id__"] for state in sorted(states, key=lambda state: state["__run_num__"])), sep=", ")'
}
{
  venv/bin/salt-call --version
  echo "user requires nothing: $(order)"
  printf '    - require: [{test: group}]\n' >required
  sed -i '/^user:/{n;r required
}' states/app.sls
  sed -i '/^user:/{n;s/$/:/}' states/app.sls
  echo "user requires group: $(order)"
} | tee seen
diff seen - <<'SEEN'
salt-call 3008.4 (Argon)
user requires nothing: user, settings, start, group
user requires group: start, group, user, settings
SEEN
