#!/usr/bin/env bash
# npm: foreman 3.0.1 (`nf`, Foreman for Node). Beside it Debian 12's ruby-foreman 0.87.2-2 and PyPI's honcho 2.0.0.
# Guess: who runs a Procfile in a container gets the exit code of the program that failed, as foreman and honcho give it, and the log names it.
# Seen: nf ends with 0, whatever the program ended with, so that a restart on failure never comes and a job in a CI is green. Its log says
# "Exited with exit code null" for a program that ended with 3, so that the reason is not to be had there either.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q honcho==2.0.0
npm install --silent --no-audit --no-fund foreman@3.0.1 >/dev/null
apt-get download -qq ruby-foreman=0.87.2-2 ruby-thor ruby3.1 libruby3.1 libyaml-0-2 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
lib=root/usr/lib
gems=$(printf ' -I %s' root/usr/share/rubygems-integration/all/gems/*/lib)
foreman() {
  LD_LIBRARY_PATH=$lib/x86_64-linux-gnu root/usr/bin/ruby3.1 -W0 -I $lib/ruby/3.1.0 -I $lib/x86_64-linux-gnu/ruby/3.1.0 $gems \
    root/usr/share/rubygems-integration/all/gems/foreman-0.87.2/bin/foreman "$@"
}
try() {
  local code=0
  "$@" >log 2>&1 || code=$?
  echo "  ${1##*/}: $code, $(grep -ioE 'exited with.*|stopped \(rc=.*' log)"
}
for command in 'exit 3' 'exit 126'; do
  echo "$command"
  echo "web: $command" >Procfile
  try foreman start
  try venv/bin/honcho start
  try node_modules/.bin/nf start
done | tee seen
diff seen - <<'SEEN'
exit 3
  foreman: 3, exited with code 3
  honcho: 3, stopped (rc=3)
  nf: 0, Exited with exit code null
exit 126
  foreman: 126, exited with code 126
  honcho: 126, stopped (rc=126)
  nf: 0, Exited with exit code null
SEEN
