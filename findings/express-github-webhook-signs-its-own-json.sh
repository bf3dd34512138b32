#!/usr/bin/env bash
# npm: express-github-webhook 1.0.6, with express 4.21.2 and body-parser 1.20.3 as its README has them. Beside it @octokit/webhooks-methods 6.0.0.
# Guess: the signature is checked over the bytes that were sent (docs.github.com, "Validating webhook deliveries"), so that any JSON text is fine: that of
# Gitea and Forgejo, which send GitHub's headers beside their own and indent by two, and one with \u escapes.
# Seen: it is checked over JSON.stringify of what was read. Indented JSON, an escape, 1.0 or 1e3 are each 400 "Failed to verify signature", with the right
# secret, as is the form that GitHub preselects; only text that JavaScript writes itself is taken. It looks like a wrong secret.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund express-github-webhook@1.0.6 express@4.21.2 body-parser@1.20.3 @octokit/webhooks-methods@6.0.0 >/dev/null
cat >try.mjs <<'JS'
import crypto from "node:crypto";
import bodyParser from "body-parser";
import express from "express";
import GithubWebhook from "express-github-webhook";
import { verify } from "@octokit/webhooks-methods";

const secret = "secret";
const handler = GithubWebhook({ path: "/hook", secret });
handler.on("error", () => {});
const app = express().use(bodyParser.json()).use(bodyParser.urlencoded({ extended: true })).use(handler);
const server = app.listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));
const payload = { ref: "refs/heads/main", repository: { name: "hello" }, pusher: { name: "Zoë" } };
const compact = JSON.stringify(payload);
const bodies = {
  compact,
  "indented, as Gitea's": JSON.stringify(payload, null, 2),
  "with an escape": compact.replace("ë", "\\u00eb"),
  "with 1.0": compact.replace("{", '{"version":1.0,'),
  "a form, as GitHub's": "payload=" + encodeURIComponent(compact),
};
for (const [name, body] of Object.entries(bodies)) {
  const sign = (hash) => `${hash}=${crypto.createHmac(hash, secret).update(body).digest("hex")}`;
  const headers = {
    "content-type": name.includes("form") ? "application/x-www-form-urlencoded" : "application/json",
    "x-github-delivery": "1", "x-github-event": "push", "x-hub-signature": sign("sha1"), "x-hub-signature-256": sign("sha256"),
  };
  const answer = await fetch(`http://127.0.0.1:${server.address().port}/hook`, { method: "POST", headers, body });
  console.log(`${name}: ${answer.status} ${await answer.text()}, octokit ${await verify(secret, body, headers["x-hub-signature-256"])}`);
}
server.close();
JS
node --no-deprecation try.mjs | tee seen
diff seen - <<'SEEN'
compact: 200 {"success":true}, octokit true
indented, as Gitea's: 400 {"error":"Failed to verify signature"}, octokit true
with an escape: 400 {"error":"Failed to verify signature"}, octokit true
with 1.0: 400 {"error":"Failed to verify signature"}, octokit true
a form, as GitHub's: 400 {"error":"Failed to verify signature"}, octokit true
SEEN
