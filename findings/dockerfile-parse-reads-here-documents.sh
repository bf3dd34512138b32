#!/usr/bin/env bash
# PyPI: dockerfile-parse 2.0.1 (used by build services to find base images and labels).
# Guess: the body of a here-document (`RUN <<EOF`, in BuildKit since 2021) is part of its instruction.
# Seen: each of its lines is an instruction: a line `FROM nowhere` in a script is a base image, `LABEL a=b` in a file that is
# copied is a label of the image, and EOF is an instruction without a value.
# So who rewrites or checks base images by it rewrites scripts, and takes the last stage for another one.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet dockerfile-parse==2.0.1
"$dir/venv/bin/python" - <<'PY' | tee "$dir/seen"
import io
from dockerfile_parse import DockerfileParser
parser = DockerfileParser(fileobj=io.BytesIO())
parser.content = """FROM debian:12
RUN <<EOF
FROM nowhere
EOF
COPY <<END /etc/labels
LABEL a=b
END
"""
print(parser.parent_images, parser.labels)
print([part["instruction"] for part in parser.structure])
PY
diff "$dir/seen" - <<'SEEN'
['debian:12', 'nowhere'] {'a': 'b'}
['FROM', 'RUN', 'FROM', 'EOF', 'COPY', 'LABEL', 'END']
SEEN
