#!/usr/bin/env bash
# PyPI: websocket-client 1.8.0, with websockets 15.0.1 beside it.
# Guess: `ws://user:password@host/log` logs in by Basic, as curl and every HTTP library do with such an address, and as websockets does.
# Seen: websocket-client connects to the host without any Authorization and without a word, so a build log behind Basic
# authentication answers 401 to a script whose address is right. The header has to be given by hand.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip -q install websocket-client==1.8.0 websockets==15.0.1
cat >try.py <<'PY'
import base64
import socket
import threading
from importlib.metadata import version

import websocket
from websockets.sync.client import connect

listener = socket.create_server(("127.0.0.1", 0))
seen = []


def serve():
    while True:
        client, _ = listener.accept()
        lines = client.recv(4096).decode().split("\r\n")
        seen.append([line for line in lines if line.lower().startswith("authorization")])
        client.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        client.close()


threading.Thread(target=serve, daemon=True).start()
address = f"ws://reader:word@127.0.0.1:{listener.getsockname()[1]}/log"
for name, open_it in [("websocket-client", websocket.create_connection), ("websockets", connect)]:
    try:
        open_it(address)
    except Exception as refusal:
        sent = [base64.b64decode(line.split()[-1]).decode() for line in seen[-1]]
        print(name, version(name), "sends", sent, "and says", type(refusal).__name__)
PY
env/bin/python try.py | tee seen
diff seen - <<'SEEN'
websocket-client 1.8.0 sends [] and says WebSocketBadStatusException
websockets 15.0.1 sends ['reader:word'] and says InvalidStatus
SEEN
