#!/usr/bin/env bash
# npm: dockerode 4.0.9 with docker-modem 5.0.7 (Docker's API for Node).
# Guess: logins go to the engine in url-safe base64 in every call, as the API asks for (docs.docker.com/reference/api/engine, "Authentication").
# Seen: X-Registry-Auth (pull, push) is url-safe, X-Registry-Config (build) is not. The engine reads that one as url-safe too, and takes
# what it cannot read for "no logins": whether private base images can be had depends on the letters of the passwords.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund dockerode@4.0.9 docker-modem@5.0.7 >/dev/null
cat >try.js <<'JS'
const http = require("http"), Docker = require("dockerode");
const login = { username: "ci", password: "a?b>c?d>e?f>" };
const server = http.createServer((request, response) => {
  const header = request.headers["x-registry-auth"] ?? request.headers["x-registry-config"];
  console.log(new URL(request.url, "http://x").pathname, /[+/]/.test(header) ? "standard base64" : "url-safe base64");
  request.resume();
  response.end("{}");
});
server.listen(0, "127.0.0.1", async () => {
  const docker = new Docker({ host: "127.0.0.1", port: server.address().port, protocol: "http" });
  const drained = (stream) => new Promise((done) => stream.resume().on("end", done));
  await drained(await docker.getImage("q.example/a").push({ authconfig: login }));
  await drained(await docker.buildImage({ context: ".", src: ["try.js"] }, { registryconfig: { "q.example": login } }));
  server.close();
});
JS
timeout 30 node try.js | tee seen
diff seen - <<'SEEN'
/images/q.example/a/push url-safe base64
/build standard base64
SEEN
