#!/bin/sh
# Enters a stage: promote.sh Blue_50. It ends when every gateway has the stage's weights. A stage that was reached or passed
# is left as it is, so that a run can be repeated from any of its stages.
. "$(dirname "$0")/common.sh"

to=${1:-}
[ -n "$to" ] || refuse 'name the stage'

main() {
  need_ours
  if is --stage "$to"; then
    say "$to is reached"
    return
  fi
  rollout promote --to "$to" --wait
}

report promote main
