#!/usr/bin/env bash
# Debian 12: tini 0.19.0-1, dumb-init 1.2.5-2, catatonit 0.1.7-1 (what `podman run --init` puts first; `docker run --init` has tini).
# Guess: a first process that cannot start its program ends as a shell and `docker run` do, with 127 for a missing one and 126 for one that may not be
# run, because all three pass on exit codes, and 128 and the signal for a killed program.
# Seen: tini does; dumb-init ends with 2 and catatonit with 1 in both cases, which are codes of programs that ran and failed. So who tells "the image
# lacks its program" from "the program failed" by the code (a CI, a restart policy) takes one for the other, depending on the engine.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq tini dumb-init catatonit 2>/dev/null
ls -- *.deb | sed -E 's/_([^_]*)_.*/ \1/' >versions
for package in *.deb; do dpkg -x "$package" root; done
touch no-program
# A namespace of its own makes each of them process 1, as in a container.
run() {
  local code=0
  unshare --user --map-root-user --fork --pid --mount-proc "$@" >said 2>&1 || code=$?
  printf ' %s' "$code"
}
{
  cut -d+ -f1 versions
  for init in tini dumb-init catatonit; do
    printf '%s: exit 3' "$init" && run "root/usr/bin/$init" -- sh -c 'exit 3'
    printf ', killed' && run "root/usr/bin/$init" -- sh -c 'kill -9 $$'
    printf ', missing' && run "root/usr/bin/$init" -- /no/such/program
    printf ', not executable' && run "root/usr/bin/$init" -- ./no-program
    echo
  done
} | tee seen
diff seen - <<'SEEN'
catatonit 0.1.7-1
dumb-init 1.2.5-2
tini 0.19.0-1
tini: exit 3 3, killed 137, missing 127, not executable 126
dumb-init: exit 3 3, killed 137, missing 2, not executable 2
catatonit: exit 3 3, killed 137, missing 1, not executable 1
SEEN
