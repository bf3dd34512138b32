#!/usr/bin/env bash
# npm: @octokit/webhooks 14.2.0 (GitHub's own) and github-webhook-handler 1.0.0.
# Guess: both take the content type that GitHub preselects for a new webhook, `application/x-www-form-urlencoded` with the JSON in `payload=`
# (docs.github.com, "Creating webhooks"), as its signature is over the same bytes.
# Seen: @octokit/webhooks answers 415 and names the type that it wants; github-webhook-handler answers 400 with an empty object for a reason.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund @octokit/webhooks@14.2.0 github-webhook-handler@1.0.0 >/dev/null
cat >try.mjs <<'JS'
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { Webhooks, createNodeMiddleware } from "@octokit/webhooks";
import handlerOf from "github-webhook-handler";
const webhooks = new Webhooks({ secret: "s" });
const handler = handlerOf({ path: "/", secret: "s" });
handler.on("error", () => {});
const servers = { "@octokit/webhooks": createNodeMiddleware(webhooks, { path: "/" }), "github-webhook-handler": (a, b) => handler(a, b, () => {}) };
const json = JSON.stringify({ ref: "refs/heads/main" });
const bodies = { "application/json": json, "application/x-www-form-urlencoded": `payload=${encodeURIComponent(json)}` };
for (const [name, answer] of Object.entries(servers)) {
  const server = createServer(answer);
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  for (const [type, body] of Object.entries(bodies)) {
    const signed = (hash) => `${hash}=${createHmac(hash, "s").update(body).digest("hex")}`;
    const headers = { "content-type": type, "x-github-event": "push", "x-github-delivery": "1", connection: "close",
      "x-hub-signature": signed("sha1"), "x-hub-signature-256": signed("sha256") };
    const response = await fetch(`http://127.0.0.1:${server.address().port}/`, { method: "POST", headers, body });
    console.log(name, type, response.status, (await response.text()).trim());
  }
  server.close();
}
JS
timeout 60 node try.mjs | tee seen
diff seen - <<'SEEN'
@octokit/webhooks application/json 200 ok
@octokit/webhooks application/x-www-form-urlencoded 415 {"error":"Unsupported \"Content-Type\" header value. Must be \"application/json\""}
github-webhook-handler application/json 200 {"ok":true}
github-webhook-handler application/x-www-form-urlencoded 400 {"error":{}}
SEEN
