#!/usr/bin/env bash
# PyPI: honcho 2.0.0 ("a Python clone of Foreman"), which images start several programs by. Debian 12: ruby-foreman 0.87.2-2. npm: foreman 3.0.1 (`nf`).
# Guess: the three read one `.env` alike, at least where neither quotes nor escapes are in question: a value goes from `=` to the end of its line.
# Seen: honcho makes "-Xmx1g-Xss1m" of `-Xmx1g -Xss1m`, without a word, and leaves a variable with an empty value out. honcho and nf cut a value at `#`,
# also inside a word, so that a password pa#ss is "pa"; foreman keeps all of it. `\"` within quotes ends the value to nf alone.
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
cat >.env <<'ENV'
V_EMPTY=
V_OPTIONS=-Xmx1g -Xss1m
V_PASSWORD=pa#ss
V_QUOTED="-Xmx1g -Xss1m"
V_SAID="he said \"no\""
ENV
echo "web: sh -c 'env | grep ^V_ | sort'" >Procfile
values() { sed -n 's/^.*\(V_[A-Z]*=\)/  \1/p'; }
{
  echo "honcho"
  venv/bin/honcho start 2>/dev/null | values
  echo "foreman"
  foreman start 2>/dev/null | values
  echo "nf"
  node_modules/.bin/nf start 2>/dev/null | values
} | tee seen
diff seen - <<'SEEN'
honcho
  V_OPTIONS=-Xmx1g-Xss1m
  V_PASSWORD=pa
  V_QUOTED=-Xmx1g -Xss1m
  V_SAID=he said "no"
foreman
  V_EMPTY=
  V_OPTIONS=-Xmx1g -Xss1m
  V_PASSWORD=pa#ss
  V_QUOTED=-Xmx1g -Xss1m
  V_SAID=he said "no"
nf
  V_EMPTY=
  V_OPTIONS=-Xmx1g -Xss1m
  V_PASSWORD=pa
  V_QUOTED=-Xmx1g -Xss1m
  V_SAID=he said \
SEEN
