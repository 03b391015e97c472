#!/bin/sh
# Takes the program `turnout` out of its image into target/bin, where the other scripts look first. One that is installed
# already will do.
#
#   TURNOUT_IMAGE   the image, by its digest; into a registry of Azure's goes the login of `az`
. "$(dirname "$0")/common.sh"

if command -v "$TURNOUT" >/dev/null; then exit; fi
is_by_digest "${TURNOUT_IMAGE:=}" ||
  refuse "TURNOUT_IMAGE: name turnout's image by its digest, and not as '$TURNOUT_IMAGE'"
mkdir -p target/bin
log_in_to "$TURNOUT_IMAGE"
container=$(docker create "$TURNOUT_IMAGE")
docker cp "$container:/turnout" target/bin/turnout
docker rm "$container" >/dev/null
