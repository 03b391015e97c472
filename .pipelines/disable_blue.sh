#!/bin/sh
# Removes blue, once no gateway gives it weight or has a request of it in flight. Where that does not come to pass it
# fails, and blue stays. With REVISION or IMAGE it stays, too, while another one is being rolled out: it is that one's.
. "$(dirname "$0")/common.sh"

main() {
  if [ -n "$IMAGE" ]; then need_image; fi
  if [ -n "$REVISION" ] && ! is_ours && ! is --idle; then
    say "blue stays: $wanted is being rolled out, and not $REVISION"
    return
  fi
  await --safe-to-remove blue
  helm uninstall model-blue --ignore-not-found --wait --timeout "$TURNOUT_TIMEOUT"
}

report disable_blue main
