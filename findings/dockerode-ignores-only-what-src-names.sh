#!/usr/bin/env bash
# npm: dockerode 5.0.1 with tar-fs 2.1.6 (Docker's API for Node).
# Guess: `buildImage` leaves out what `.dockerignore` names, as `docker build` does, because it reads that file.
# Seen: the patterns are held against the entries of `src` themselves, and below a folder against `CONTEXT/path` and not `path`. So a whole
# entry is left out, and `node_modules` below `src: ["."]`, or `dir/cache` below `src: ["dir"]`, is sent all the same; only patterns that begin
# with `**/` work at any depth.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund dockerode@5.0.1 tar-fs@2.1.6 tar-stream@3.1.7 >/dev/null
mkdir -p context/dir context/node_modules
touch context/Dockerfile context/dir/{cache,kept} context/node_modules/big.js
cat >try.js <<'JS'
const fs = require("fs"), http = require("http"), zlib = require("zlib");
const Docker = require("dockerode"), tar = require("tar-stream");
const sent = (request) => new Promise((done) => {
  const names = [], parts = [], extract = tar.extract();
  extract.on("entry", (header, stream, next) => { names.push(header.name); stream.resume().on("end", next); });
  extract.on("finish", () => done(names.sort().join(" ")));
  request.on("data", (part) => parts.push(part)).on("end", () => extract.end(zlib.gunzipSync(Buffer.concat(parts))));
});
const server = http.createServer(async (request, response) => { console.log("  sent:", await sent(request)); response.end("{}"); });
server.listen(0, "127.0.0.1", async () => {
  const docker = new Docker({ host: "127.0.0.1", port: server.address().port, protocol: "http" });
  for (const [pattern, src] of [["dir", ["Dockerfile", "dir"]], ["dir/cache", ["Dockerfile", "dir"]], ["node_modules", ["."]], ["**/cache", ["dir"]]]) {
    fs.writeFileSync("context/.dockerignore", `${pattern}\n`);
    console.log(`.dockerignore has ${pattern}, src is ${src}`);
    const stream = await docker.buildImage({ context: "context", src }, {});
    await new Promise((done) => stream.resume().on("end", done));
  }
  server.close();
});
JS
timeout 60 node try.js | tee seen
diff seen - <<'SEEN'
.dockerignore has dir, src is Dockerfile,dir
  sent: Dockerfile
.dockerignore has dir/cache, src is Dockerfile,dir
  sent: Dockerfile dir dir/cache dir/kept
.dockerignore has node_modules, src is .
  sent: . .dockerignore Dockerfile dir dir/cache dir/kept node_modules node_modules/big.js
.dockerignore has **/cache, src is dir
  sent: dir dir/kept
SEEN
