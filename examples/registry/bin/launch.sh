#!/bin/sh
# Configures this project in its container, and runs its processes: bin/launch.sh ssh_config=True re_configure=True
exec launcher launch name=registry "$@"
