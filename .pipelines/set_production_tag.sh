#!/bin/sh
# At Blue_Green: green gets the new image, while blue serves everything.
. "$(dirname "$0")/common.sh"

main() {
  need_ours
  if is --stage Green_100; then
    say "green serves $REVISION"
    return
  fi
  is --stage Blue_Green || refuse "green may be replaced at Blue_Green, and the rollout is at $(field .status.stage)"
  make_way green "$IMAGE"
  put green "$IMAGE" "$REVISION"
  await --ready green
}

report set_production_tag main
