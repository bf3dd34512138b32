#!/usr/bin/env bash
# npm: @octokit/webhooks-examples 7.6.1 (GitHub's recorded deliveries).
# Guess: repository.created_at and pushed_at are ISO 8601 texts in every event, as repository.updated_at is.
# Seen: in all 7 `push` examples both are seconds since 1970, as numbers, and updated_at beside them is a text; in the examples of
# every other event all three are texts. In `push` alone repository.owner has `name`; the others have only `login`.
# So one typed `Repository` for all events refuses every push, or every other event.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund @octokit/webhooks-examples@7.6.1 >/dev/null
node -e '
  const examples = require("@octokit/webhooks-examples").default ?? require("@octokit/webhooks-examples");
  const seen = {};
  for (const event of examples)
    for (const { repository } of event.examples) {
      if (!repository) continue;
      const { created_at, pushed_at, updated_at, owner } = repository;
      const shape = [created_at, pushed_at, updated_at].map((v) => typeof v).join(" ") + ", owner.name " + typeof owner.name;
      const kind = event.name === "push" ? "push" : "others";
      ((seen[kind] ??= {})[shape] ??= 0), seen[kind][shape]++;
    }
  console.log(Object.entries(seen.push).join());
  console.log(Object.keys(seen.others).some((shape) => shape.startsWith("number")) ? "others have numbers" : "others have texts");
  console.log(Object.keys(seen.others).some((shape) => shape.endsWith("string")) ? "others have names" : "others have no names");
' | tee seen
diff seen - <<'SEEN'
number number string, owner.name string,7
others have texts
others have no names
SEEN
