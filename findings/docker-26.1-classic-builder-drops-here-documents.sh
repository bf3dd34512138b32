#!/usr/bin/env bash
# Debian 13: docker.io 26.1.5+dfsg1 (dockerd's classic builder, which a plain POST /build gets, so docker-py and dockerode, too).
# With runc and busybox-static of Debian 12. Needs root.
# Guess: it refuses a here-document with "unknown instruction", as that of Debian 12's docker.io 20.10 does, because only BuildKit knows them.
# Seen: it reads the lines up to the end as a part of the instruction and then hands the shell `<<EOF` alone. The step
# succeeds, the build succeeds, and the image lacks what the lines were to make; nothing says so.
set -euo pipefail
dir=$(mktemp -d)
finish() {
  if [ -n "${engine:-}" ]; then kill "$engine" && wait "$engine" || true; fi
  umount "$dir"/engine/*/netns/* 2>/dev/null || true
  rm -rf "$dir"
}
trap finish EXIT
cd "$dir"
mkdir -p trixie/lists/partial trixie/archives/partial root context
touch trixie/status
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Codename: bookworm' | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive trixie main" >trixie/sources.list
trixie() {
  apt-get -qq -o Dir::Etc::SourceList="$dir/trixie/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$dir/trixie/lists" \
    -o Dir::State::status="$dir/trixie/status" -o Dir::Cache="$dir/trixie" -o APT::Sandbox::User=root "$@"
}
trixie update
trixie download docker.io=26.1.5* containerd
apt-get download -qq runc busybox-static libseccomp2 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
export PATH=$dir/root/usr/sbin:$dir/root/usr/bin:$PATH LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu
dockerd --host "unix://$dir/socket" --data-root "$dir/data" --exec-root "$dir/engine" --pidfile "$dir/pid" --storage-driver vfs \
  --bridge none --iptables=false --ip6tables=false >log 2>&1 &
engine=$!
engine_answers() { curl -sf --unix-socket socket "http://engine/v1.45/$1" "${@:2}"; }
for _ in $(seq 300); do ! engine_answers _ping >/dev/null || break; sleep 0.1; done
cp "$(find root -name busybox -path '*bin*' | head -n 1)" context/sh
cat >context/Dockerfile <<'DOCKERFILE'
FROM scratch
COPY sh /bin/sh
RUN <<EOF
echo hello > /greeting
EOF
CMD ["/bin/sh", "-c", "echo /*"]
DOCKERFILE
{
  engine_answers version | grep -o '"Version":"26[^"]*"' | head -n 1
  tar -C context -c . | engine_answers 'build?t=it&networkmode=none' -X POST -H 'Content-Type: application/x-tar' --data-binary @- |
    sed -n 's/^{"stream":"\(.*\)"}\r*$/\1/p' | grep -E '^Step 3|^Successfully built' | sed 's/built .*/built/'
  engine_answers images/it/history | grep -o '"CreatedBy":"[^"]*EOF[^"]*"'
  container=$(engine_answers containers/create -H 'Content-Type: application/json' -d '{"Image":"it","HostConfig":{"NetworkMode":"none"}}' | grep -o '[0-9a-f]\{64\}')
  engine_answers "containers/$container/start" -X POST
  engine_answers "containers/$container/wait" -X POST >/dev/null
  engine_answers "containers/$container/logs?stdout=1" | tail -c +9
  engine_answers "containers/$container" -X DELETE
} | tee seen
diff seen - <<'SEEN'
"Version":"26.1.5+dfsg1"
Step 3/4 : RUN \u003c\u003cEOF
Successfully built
"CreatedBy":"/bin/sh -c <<EOF"
/bin /dev /etc /proc /sys
SEEN
