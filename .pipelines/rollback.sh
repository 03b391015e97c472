#!/bin/sh
# Gives everything back to the model that served before, as green, wherever the rollout is. Blue stays, without weight.
# With REVISION or IMAGE only if that is what is being rolled out:
#
#   BEGUN     what stage_blue.sh has said: nothing goes back unless it is `yes`. By hand it is, if it is not there
. "$(dirname "$0")/common.sh"

# The newest release of green with another image than this.
former_release() {
  history=$(helm history model-green --output json)
  printf '%s' "$history" | jq -r 'sort_by(-.revision)[] | select(.status != "failed") | .revision' |
    while read -r number; do
      image=$(image_of green "$number") || exit
      if [ "$image" != "$1" ]; then
        say "$number"
        break
      fi
    done
}

# Puts back what green was before it got this image, if it did.
restore_green() {
  there=$(image_of green)
  if [ -z "$there" ] || [ "$there" != "$1" ]; then return; fi
  number=$(former_release "$1")
  [ -n "$number" ] || refuse "model-green has no release with another image than $1"
  helm rollback model-green "$number" --wait --timeout "$TURNOUT_TIMEOUT"
}

# Up to Blue_100 green is as it was. Where it was replaced it has no weight, or loses it to blue now, until it is back.
turn_back() {
  from=$(field '.status | .rollback.from // .movingTo // .stage')
  rollout rollback
  case $from in
    Blue_Green | Green_100) restore_green "${IMAGE:-$(image_of blue)}" ;;
  esac
  await --stage Rollback
}

# After Green_100 there is nothing but the new image: the former one goes the same way, as blue, then as green.
return_former() {
  former=$(field .status.previousRevision)
  there=$(image_of green)
  is_returning || rollout rollback
  if [ -n "$there" ]; then
    new=${IMAGE:-$there}
    number=$(former_release "$new")
    [ -n "$number" ] || refuse "model-green has no release with another image than $new"
    old=$(image_of green "$number")
    make_way blue "$old"
    # As it was, whatever values the new one has.
    values=$(helm get values model-green --revision "$number" --output yaml)
    printf '%s\n' "$values" | MODEL_VALUES=- put blue "$old" "$former"
    await --stage Blue_Green
    make_way green "$old"
    restore_green "$new"
  fi
  await --stage Green_100
}

# One that was interrupted on the way after Green_100.
is_returning() {
  returning=$(field 'select(.spec.revision == .status.previousRevision) | .status.stableRevision') || exit
  [ "$returning" = "$REVISION" ]
}

main() {
  if [ -n "$IMAGE" ]; then need_image; fi
  if [ -z "$REVISION" ]; then REVISION=$(field .spec.revision); fi
  at=$(field .status.stage)
  # A run that failed before it could say so has begun nothing.
  if [ "${BEGUN-yes}" != yes ]; then
    say "this run has begun nothing${REVISION:+ of $REVISION}: there is nothing to turn back"
  elif [ -z "$REVISION" ]; then
    say "$ROLLOUT has no revision: there is nothing to turn back"
  elif is_returning; then
    return_former
  elif ! is_ours; then
    say "$REVISION is not being rolled out: there is nothing to turn back"
  elif [ "$at" = Green_100 ]; then
    return_former
  else
    turn_back
  fi
}

report rollback main
