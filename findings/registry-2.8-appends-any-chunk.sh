#!/usr/bin/env bash
# Debian 12: docker-registry 2.8.2+ds1-1 (distribution 2.8.2). Format: github.com/opencontainers/distribution-spec, "Pushing a blob in chunks".
# Guess: a chunk whose Content-Range does not go on where the upload ends is 416 with the range that has arrived, and a client that lost an answer asks the
# upload's address how far it came and goes on from there.
# Seen: Content-Range is not looked at: bytes 10-12 are put behind byte 1, and a chunk that is sent twice is there twice, which comes out at the end, as
# DIGEST_INVALID. Who lost an answer has the address of the one before, which is 404 BLOB_UPLOAD_INVALID for the question, with and without its state, and
# for the chunk again; only the address that was lost answers. So an upload cannot be resumed, and has to be begun anew.
set -euo pipefail
dir=$(mktemp -d)
trap '[ -z "${registry:-}" ] || { kill "$registry" && wait "$registry" || true; }; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq docker-registry=2.8.2* 2>/dev/null
dpkg -x docker-registry_*.deb root
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >config.yml <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $dir/data}}
http: {addr: "127.0.0.1:$port"}
YAML
root/usr/bin/docker-registry serve config.yml >log 2>&1 &
registry=$!
for _ in $(seq 300); do ! curl -sf "http://127.0.0.1:$port/v2/" >/dev/null || break; sleep 0.1; done
digest=sha256:$(printf hello | sha256sum | cut -d' ' -f1)
ask() {
  local what=$1
  shift
  curl -s -o body -D head -w "  $what: %{http_code}" "$@"
  tr -d '\r' <head | sed -n 's/^Range: /, /p' | tr -d '\n'
  grep -o '"code":"[A-Z_]*"' body | sed 's/.*:/, /' || true
  echo
  location=$(tr -d '\r' <head | sed -n 's/^Location: //p')
}
begin() { ask "an upload is begun" -X POST "http://127.0.0.1:$port/v2/team/app/blobs/uploads/"; }
chunk() { ask "bytes $1" -X PATCH -H 'Content-Type: application/octet-stream' -H "Content-Range: $1" --data-binary "$2" "$3"; }
end() { ask "the end" -X PUT "$location&digest=$digest"; }
{
  echo "a chunk of another place"
  begin
  chunk 0-1 he "$location"
  chunk 10-12 llo "$location"
  end
  echo "a chunk again"
  begin
  chunk 0-1 he "$location"
  chunk 0-1 he "$location"
  chunk 2-4 llo "$location"
  end
  echo "an answer is lost"
  begin
  before=$location
  chunk 0-1 he "$before"
  lost=$location
  ask "how far" "$before"
  ask "how far, without its state" "${before%%\?*}"
  chunk 0-1 he "$before"
  ask "how far, at the lost address" "$lost"
} | sed 's/ *$//' | grep . | tee seen
diff seen - <<'SEEN'
a chunk of another place
  an upload is begun: 202, 0-0
  bytes 0-1: 202, 0-1
  bytes 10-12: 202, 0-4
  the end: 201
a chunk again
  an upload is begun: 202, 0-0
  bytes 0-1: 202, 0-1
  bytes 0-1: 202, 0-3
  bytes 2-4: 202, 0-6
  the end: 400, "DIGEST_INVALID"
an answer is lost
  an upload is begun: 202, 0-0
  bytes 0-1: 202, 0-1
  how far: 404, "BLOB_UPLOAD_INVALID"
  how far, without its state: 404, "BLOB_UPLOAD_INVALID"
  bytes 0-1: 404, "BLOB_UPLOAD_INVALID"
  how far, at the lost address: 204, 0-1
SEEN
