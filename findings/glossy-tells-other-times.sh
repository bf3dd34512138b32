#!/usr/bin/env bash
# npm: glossy 0.1.7 ("syslog parser and producer", in many loggers for Node). Debian 12: rsyslog 8.2302.0-1, which writes the line that it reads.
# Format: RFC 5424, 6.2.3 (TIMESTAMP), and rsyslog's template RSYSLOG_ForwardFormat.
# Guess: a message that glossy writes has the time that it was given, and glossy reads it back; and it reads what rsyslog forwards with its template of
# precise times, as it knows RFC 3164 with other forms of dates.
# Seen: it writes milliseconds without their leading zeros, 5 ms as .05 and 50 ms as .50, so that one message in ten is up to 0.9 s late and
# stands behind later ones. Of rsyslog's line it takes the first word of the message for the host; the time, the host and the program are gone, without an error.
set -euo pipefail
dir=$(mktemp -d)
trap '[ -z "${rsyslog:-}" ] || { kill "$rsyslog" && wait "$rsyslog" || true; }; rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund glossy@0.1.7 >/dev/null
apt-get download -qq rsyslog=8.2302.0-1* libestr0 libfastjson4 liblognorm5 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
cat >rsyslog.conf <<CONF
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="$dir/log" UseSysTimeStamp="off")
*.* action(type="omfile" file="$dir/forwarded" template="RSYSLOG_ForwardFormat")
CONF
lib=$dir/root/usr/lib/x86_64-linux-gnu
LD_LIBRARY_PATH=$lib root/usr/sbin/rsyslogd -n -f rsyslog.conf -i "$dir/pid" -M "$lib/rsyslog" >said 2>&1 &
rsyslog=$!
timeout 20 sh -c 'until [ -S log ]; do sleep 0.1; done'
python3 - <<'PY'
import socket
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.connect("log")
log.send(b"<30>Nov 29 10:00:00 builder[5]: build of web has failed")
PY
timeout 20 sh -c 'until grep -qs web forwarded; do sleep 0.1; done'
cat >try.cjs <<'JS'
const { Parse, Produce } = require("glossy");
const { readFileSync } = require("fs");
const producer = new Produce({ type: "RFC5424" });
for (const time of [5, 50, 500]) {
  const line = producer.produce({ facility: "local0", severity: "info", host: "h", appName: "a", date: new Date(time), message: "m" });
  console.log(`${time} ms: ${line.split(" ")[1]}, read again: ${Parse.parse(line).time.getTime()} ms`);
}
const { time, host, message } = Parse.parse(readFileSync("forwarded", "utf8").split("\n").find((line) => line.includes("web")));
console.log("rsyslog's line:", JSON.stringify({ time, host, message }));
JS
{
  grep web forwarded | sed -E 's/[0-9]{4}-[0-9:.T+-]*Z?/TIME/; s/TIME [^ ]*/TIME HOST/'
  node try.cjs
} | tee seen
diff seen - <<'SEEN'
<30>TIME HOST builder[5]: build of web has failed
5 ms: 1970-01-01T00:00:00.05Z, read again: 50 ms
50 ms: 1970-01-01T00:00:00.50Z, read again: 500 ms
500 ms: 1970-01-01T00:00:00.500Z, read again: 500 ms
rsyslog's line: {"host":"build","message":"of web has failed"}
SEEN
