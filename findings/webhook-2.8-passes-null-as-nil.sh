#!/usr/bin/env bash
# Debian 12: webhook 2.8.0-4 (github.com/adnanh/webhook, a server that runs a command for each webhook).
# Guess: a value of the payload that is null or not there is an empty argument, or the command is not run.
# Seen: null is the text <nil>: so is checkout_sha of GitLab when a branch is deleted, and base_ref of nearly each push of GitHub. A script that tests
# for empty goes on with it, and a rule that matches "" does not hold. A value that is not there is an empty argument, and so is each of a form instead of
# JSON, which GitHub preselects; the command is run all the same, the answer is 200, and only the log of `-verbose` says so.
set -euo pipefail
dir=$(mktemp -d)
trap '[ -z "${server:-}" ] || { kill "$server" && wait "$server" || true; } 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq webhook=2.8.0-4* 2>/dev/null
dpkg -x webhook_*.deb root
cat >command <<'SH'
#!/bin/sh
printf 'run with'
printf ' [%s]' "$@"
SH
chmod +x command
cat >hooks.json <<JSON
[{"id": "deploy", "execute-command": "$dir/command", "include-command-output-in-response": true,
  "pass-arguments-to-command": [{"source": "payload", "name": "ref"}, {"source": "payload", "name": "checkout_sha"}]},
 {"id": "deleted", "execute-command": "$dir/command", "include-command-output-in-response": true,
  "trigger-rule": {"match": {"type": "value", "value": "", "parameter": {"source": "payload", "name": "checkout_sha"}}}}]
JSON
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
root/usr/bin/webhook -hooks hooks.json -ip 127.0.0.1 -port "$port" >log 2>&1 &
server=$!
for _ in $(seq 300); do ! curl -s "http://127.0.0.1:$port/" >/dev/null || break; sleep 0.1; done
send() {
  local hook=$1 type=$2
  shift 2
  curl -s -w ' (%{http_code})\n' -H "Content-Type: application/$type" "$@" "http://127.0.0.1:$port/hooks/$hook"
}
{
  echo "null: $(send deploy json -d '{"ref": "refs/heads/old", "checkout_sha": null}')"
  echo "a rule for it: $(send deleted json -d '{"ref": "refs/heads/old", "checkout_sha": null}')"
  echo "not there: $(send deploy json -d '{"ref": "refs/heads/old"}')"
  echo "a form: $(send deploy x-www-form-urlencoded --data-urlencode 'payload={"ref": "refs/heads/main", "checkout_sha": "244fd47e"}')"
} | tee seen
echo "the log without -verbose: $(wc -c <log) bytes" | tee -a seen
diff seen - <<'SEEN'
null: run with [refs/heads/old] [<nil>] (200)
a rule for it: Hook rules were not satisfied. (200)
not there: run with [refs/heads/old] [] (200)
a form: run with [] [] (200)
the log without -verbose: 0 bytes
SEEN
