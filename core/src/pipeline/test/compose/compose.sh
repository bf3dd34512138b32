# Becomes Docker Compose, of either version.
if [ -f /.image-factory/env ]; then . /.image-factory/env; fi
if command -v docker-compose >/dev/null 2>&1; then exec docker-compose "$@"; fi
if command -v docker >/dev/null 2>&1; then exec docker compose "$@"; fi
echo 'BUILD_IMAGE has no Docker Compose: neither docker-compose nor docker' >&2
exit 127
