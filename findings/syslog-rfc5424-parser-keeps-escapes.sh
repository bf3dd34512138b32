#!/usr/bin/env bash
# PyPI: syslog-rfc5424-parser 0.3.2. Format: RFC 5424, 6.3.3 (escapes in parameters) and 6.4 (a text's byte order mark).
# Guess: a parser of RFC 5424 gives a parameter's value without the escapes that the format needs, and a message without its mark.
# Seen: the value keeps its backslashes and the message its mark, so that neither equals what the sender had.
# A "-" is None in PROCID and MSGID, the text "-" in HOSTNAME and APP-NAME.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q syslog-rfc5424-parser==0.3.2
cat >show.py <<'PY'
from syslog_rfc5424_parser import SyslogMessage
def parse(line):
    return SyslogMessage.parse(line).as_dict()
full = parse('<14>1 2026-11-28T10:00:00Z host app 12 ID [job@1 cause="step \\"make\\" [2\\]"] \ufeffended')
print("cause", full["sd"]["job@1"]["cause"])
print("message", ascii(full["msg"]))
bare = parse("<14>1 - - - - - -")
print("nil", {name: bare[name] for name in ("hostname", "appname", "procid", "msgid")})
PY
venv/bin/python show.py | tee seen
diff seen - <<'SEEN'
cause step \"make\" [2\]
message '\ufeffended'
nil {'hostname': '-', 'appname': '-', 'procid': None, 'msgid': None}
SEEN
