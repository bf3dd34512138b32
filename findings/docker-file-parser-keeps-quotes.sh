#!/usr/bin/env bash
# npm: docker-file-parser 1.0.7.
# Guess: `ENV name="John Doe"` gives the value John Doe, as the README says that it handles quoting and escapes, and as a container sees it.
# Seen: quotes and backslashes stay in the value (`"John Doe"`, `Rex\ Dog`), in ENV, LABEL and ARG alike; only the JSON forms are without.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund docker-file-parser@1.0.7 >/dev/null
cat >try.js <<'JS'
const { parse } = require("docker-file-parser");
const text = 'FROM a\nENV name="John Doe" dog=Rex\\ Dog\nLABEL title="A B"\nARG x="1 2"\nCOPY ["a b", "c"]\n';
for (const command of parse(text)) console.log(command.name, JSON.stringify(command.args));
JS
node try.js | tee seen
diff seen - <<'SEEN'
FROM "a"
ENV {"name":"\"John Doe\"","dog":"Rex\\ Dog"}
LABEL {"title":"\"A B\""}
ARG ["x=\"1 2\""]
COPY ["a b","c"]
SEEN
