#!/usr/bin/env bash
# PyPI: oras 0.2.43. crates.io: docker-image 0.2.1 ("strict adherence to Docker's naming rules"). Beside them docker-image-py 0.2.0 of PyPI.
# Guess: the three read names as Docker does: a first part with a dot or a port, or "localhost", is the registry; a port may follow any host, also one
# by its number; and a part may hold two underlines or several dashes in a row (github.com/distribution/reference).
# Seen: to oras localhost/app, which is what podman calls each image of its own, is localhost/app of Docker Hub, and it would go there. docker-image
# has no registry there either, refuses localhost:5000/app and 192.168.0.1:5000/app, takes 192.168.0.1 alone for a folder, and refuses a__b.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q oras==0.2.43 docker-image-py==0.2.0
mkdir -p names/src
printf '[package]\nname = "names"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\ndocker-image = "=0.2.1"\n' >names/Cargo.toml
cat >names/src/main.rs <<'RS'
fn main() {
    match docker_image::DockerImage::parse(&std::env::args().nth(1).unwrap()) {
        Ok(image) => println!("{} | {}", image.registry.as_deref().unwrap_or("none"), image.name),
        Err(error) => println!("{error:?}"),
    }
}
RS
CARGO_TARGET_DIR=$dir/target cargo build --quiet --manifest-path names/Cargo.toml
cat >names.py <<'PY'
import sys
from docker_image.reference import Reference
from oras.container import Container
name = sys.argv[1]
print("  docker-image-py", *Reference.parse_normalized_named(name).split_hostname(), sep=" | ")
container = Container(name)
print("  oras", container.registry, container.api_prefix, sep=" | ")
PY
for name in localhost/app localhost:5000/app 192.168.0.1:5000/app 192.168.0.1/app quay.io/team/a__b; do
  echo "$name"
  venv/bin/python names.py "$name"
  echo "  docker-image | $(target/debug/names "$name")"
done | tee seen
diff seen - <<'SEEN'
localhost/app
  docker-image-py | localhost | app
  oras | docker.io | localhost/app
  docker-image | none | localhost/app
localhost:5000/app
  docker-image-py | localhost:5000 | app
  oras | localhost:5000 | app
  docker-image | InvalidFormat
192.168.0.1:5000/app
  docker-image-py | 192.168.0.1:5000 | app
  oras | 192.168.0.1:5000 | app
  docker-image | InvalidFormat
192.168.0.1/app
  docker-image-py | 192.168.0.1 | app
  oras | 192.168.0.1 | app
  docker-image | none | 192.168.0.1/app
quay.io/team/a__b
  docker-image-py | quay.io | team/a__b
  oras | quay.io | team/a__b
  docker-image | InvalidFormat
SEEN
