#!/usr/bin/env bash
# PyPI: standardwebhooks 1.0.1; npm: standardwebhooks 1.1.1 (both from github.com/standard-webhooks).
# Guess: a key in url-safe base64 (`secrets.token_urlsafe` makes such) is either read by both, or refused by both when it is given.
# Seen: Node refuses it at once. Python drops each `-` and `_`, takes what is left for another, shorter key, and says of every webhook
# that no signature matches, as if the sender were wrong.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund standardwebhooks@1.1.1 >/dev/null
pip3 install --quiet --root-user-action=ignore --target packages standardwebhooks==1.0.1
cat >try.js <<'JS'
const { Webhook } = require("standardwebhooks");
const [key, urlSafe] = process.argv.slice(2);
const time = new Date();
const headers = {
  "webhook-id": "1",
  "webhook-timestamp": String(Math.floor(time.getTime() / 1000)),
  "webhook-signature": new Webhook(key).sign("1", time, "{}"),
};
require("fs").writeFileSync("headers.json", JSON.stringify(headers));
try {
  console.log("node:", new Webhook(urlSafe).verify("{}", headers));
} catch (error) {
  console.log("node:", error.message);
}
JS
cat >try.py <<'PY'
import json, sys
from standardwebhooks import Webhook
headers = json.load(open("headers.json"))
for name, key in (("standard", sys.argv[1]), ("url-safe", sys.argv[2])):
    try:
        print("python, " + name + ":", Webhook(key).verify("{}", headers))
    except Exception as error:
        print("python, " + name + ":", type(error).__name__, error)
PY
key=YT8+Yn5+Yz8+P2Q+ZT9mPjAxMjM0NTY3ODk=
{
  node try.js $key "$(tr +/ -_ <<<$key)"
  PYTHONPATH=packages python3 try.py $key "$(tr +/ -_ <<<$key)"
} | tee seen
diff seen - <<'SEEN'
node: Base64Coder: incorrect characters for decoding
python, standard: {}
python, url-safe: WebhookVerificationError No matching signature found
SEEN
