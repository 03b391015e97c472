#!/bin/sh
# Blue_0: the new image becomes blue, beside green, which keeps everything. The weights come first: a blue that a former
# run left with weight is replaced only after every gateway has taken that away. An image that is in production already is
# not rolled out anew: the stages find nothing to do. The output `begun` is `yes` from the moment when something is to go
# back, and `no` where it never will be.
. "$(dirname "$0")/common.sh"

turn_back() {
  IMAGE='' REVISION='' BEGUN=yes .pipelines/rollback.sh
}

main() {
  need_image
  helm upgrade --install abtest-istio charts/abtest-istio ${ROUTES_VALUES:+--values "$ROUTES_VALUES"} \
    --set rollout.enabled=true --set-string "rollout.name=$ROLLOUT,namespace=$K8S_AB_NAMESPACE"
  stable=$(field .status.stableRevision)
  # Of a run that ended where green is replaced, green has to be restored before anything else can begin.
  left=$(field '.status | select(.phase != "RolledBack" and .candidate and .stableRevision) |
    if .rollback then "Rollback" else .stage // .movingTo end')
  case $left in
    '') ;;
    Rollback) turn_back ;;
    Blue_Green) is_ours || turn_back ;;
    # The model in production takes the place of another without being that one's blue.
    *) [ "$stable" != "$REVISION" ] || turn_back ;;
  esac
  if [ "$stable" = "$REVISION" ]; then output begun no; else output begun yes; fi
  rollout start --revision "$REVISION"
  if [ "$stable" = "$REVISION" ]; then
    await --stage Green_100
    say "$REVISION is in production: there is nothing to begin"
    return
  fi
  if ! is --ready blue; then
    make_way blue "$IMAGE"
    put blue "$IMAGE" "$REVISION"
  fi
  await --ready blue
}

report stage_blue main
