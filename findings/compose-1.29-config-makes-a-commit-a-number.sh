#!/usr/bin/env bash
# Debian 12: docker-compose 1.29.2-3. Debian 13: docker-compose 2.26.1-4. No engine is needed.
# Guess: what `docker-compose config` of 1.29 prints, which people store as a release's file, means to compose 2 what the file meant that it was made
# of: a text in quotes stays a text, as "123" and "yes" do.
# Seen: 1.29 takes the quotes off 1234e56 (an abbreviated commit), 1e3 and 09, which are no numbers in YAML 1.1, and to compose 2 they
# are numbers: the label of the revision becomes 1.234e+59, the month 9. Of abbreviated commits (seven digits) about one in 115 looks so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq docker-compose python3-{docker,dockerpty,docopt,jsonschema,requests,texttable,websocket,yaml,dotenv,distro} \
  python3-{distutils,attr,pyrsistent,urllib3,chardet,charset-normalizer,idna,certifi,six,packaging} libyaml-0-2 2>/dev/null
for package in *.deb; do dpkg -x "$package" old; rm "$package"; done
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
dpkg -x docker-compose_*.deb new
old() { PYTHONPATH=$dir/old/usr/lib/python3/dist-packages LD_LIBRARY_PATH=$dir/old/usr/lib/x86_64-linux-gnu /usr/bin/python3 old/usr/bin/docker-compose "$@"; }
new() { new/usr/libexec/docker/cli-plugins/docker-compose --project-name demo "$@" 2>/dev/null; }
cat >compose.yaml <<'YAML'
version: "3.8"
services:
  web:
    image: web
    environment:
      ANSWER: "yes"
      COUNT: "123"
      EXPONENT: "1e3"
      MONTH: "09"
    labels:
      revision: "1234e56"
YAML
show() { sed -nE 's/^ *(ANSWER|COUNT|EXPONENT|MONTH|revision): /  \1: /p'; }
{
  old --version | cut -d, -f1
  old -f compose.yaml config | tee release.yaml | show
  echo "$(new version), of the same file"
  new -f compose.yaml config | show
  echo "of what 1.29 printed"
  new -f release.yaml config | show
} | tee seen
diff seen - <<'SEEN'
docker-compose version 1.29.2
  ANSWER: "yes"
  COUNT: '123'
  EXPONENT: 1e3
  MONTH: 09
  revision: 1234e56
Docker Compose version 2.26.1-4, of the same file
  ANSWER: "yes"
  COUNT: "123"
  EXPONENT: "1e3"
  MONTH: "09"
  revision: "1234e56"
of what 1.29 printed
  ANSWER: "yes"
  COUNT: "123"
  EXPONENT: "1000"
  MONTH: "9"
  revision: "1.234e+59"
SEEN
