#!/usr/bin/env bash
# PyPI: sshpubkeys 3.3.1. Format: sshd(8), "AUTHORIZED_KEYS FILE FORMAT".
# Guess: the value of `command="…"` comes as sshd runs it, where `\"` stands for a quote; every option of OpenSSH 9 is known.
# Seen: both quotes vanish and the backslashes stay, so that whoever writes the options again runs another command; with a space between
# the inner quotes the whole key is refused. `verify-required` (OpenSSH 8.4, 2020) is refused as unknown, and the key with it, unless
# strict mode is off, which turns off much more.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q sshpubkeys==3.3.1
ssh-keygen -q -t ed25519 -N '' -C someone -f key
cat >show.py <<'PY'
import sshpubkeys
key = open("key.pub").read()
for options in (r'command="echo \"hi\""', r'command="sh -c \"echo hi\""', "restrict,pty", "no-touch-required", "verify-required"):
    parsed = sshpubkeys.SSHKey(f"{options} {key}")
    try:
        parsed.parse()
        print(options, "->", " ".join(f"{name}={values}" for name, values in parsed.options.items()))
    except Exception as error:
        print(options, "->", type(error).__name__)
PY
venv/bin/python show.py | tee seen
diff seen - <<'SEEN'
command="echo \"hi\"" -> command=['echo \\hi\\']
command="sh -c \"echo hi\"" -> MalformedDataError
restrict,pty -> restrict=[True] pty=[True]
no-touch-required -> no-touch-required=[True]
verify-required -> UnknownOptionNameError
SEEN
