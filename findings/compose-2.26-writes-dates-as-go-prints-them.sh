#!/usr/bin/env bash
# Debian 13: docker-compose 2.26.1-4, and Debian 12's libc. No engine is needed.
# Guess: a date without quotes in `environment`, `labels` or a build's `args` comes through as it is written, as a version or a time (12:30) does.
# Seen: it becomes the text that Go prints for a time, so that BUILD_DATE=2026-11-28 is `2026-11-28 00:00:00 +0000 UTC` in the container, and
# a label that was to be RFC 3339 loses its T and its Z. Nothing is said. (compose 1.29 ends with a traceback instead.)
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
trixie download 'docker-compose=2.26.1*'
dpkg -x docker-compose_*.deb root
compose() { root/usr/libexec/docker/cli-plugins/docker-compose "$@"; }
cat >compose.yaml <<'YAML'
services:
  web:
    build:
      context: .
      args:
        BUILT: 2026-11-28
    image: web
    environment:
      BUILD_DATE: 2026-11-28
      QUOTED: "2026-11-28"
      OPENS: 12:30
    labels:
      org.opencontainers.image.created: 2026-11-28T10:00:00Z
YAML
{
  compose version
  compose config | grep -E 'BUILT|BUILD_DATE|QUOTED|OPENS|created'
} | tee seen
diff seen - <<'SEEN'
Docker Compose version 2.26.1-4
        BUILT: 2026-11-28 00:00:00 +0000 UTC
      BUILD_DATE: 2026-11-28 00:00:00 +0000 UTC
      OPENS: "12:30"
      QUOTED: "2026-11-28"
      org.opencontainers.image.created: 2026-11-28 10:00:00 +0000 UTC
SEEN
