#!/bin/sh
# Asks the models and fails where they do: check.sh blue|green|split|all... Each word is a load of its own:
#
#   blue, green   requests that pick that version; the new model has to answer
#   split         requests that pick none; either model may answer
#   all           the same, where only the new model may
#
# What is held to is the share that succeeds, the latency, and the answers of the new model:
#
#   SCORE_URL                   as http://20.1.2.3/score [default: at the address of turnout-gateway's load balancer, which
#                               takes the right to get that Service]
#   TURNOUT_GATEWAY_NAMESPACE   where that gateway is [default: turnout-system]
#   CHECK_REQUESTS              [default: 100]
#   CHECK_MIN_SUCCESS           percent that have to succeed [default: 100]
#   CHECK_MAX_P99               milliseconds [default: any]
#   CHECK_EXPECT                text that an answer of the new model has [default: any]
#   CHECK_DATA                  a body to POST; @FILE takes a file's content [default: GET]
#   CHECK_PAUSE                 seconds between two requests [default: 0.05]
. "$(dirname "$0")/common.sh"

: "${SCORE_URL:=}" "${CHECK_EXPECT:=}" "${CHECK_DATA:=}" "${CHECK_MAX_P99:=}"

# shellcheck disable=SC2317 # It is called by its name.
check() {
  version=$1 expect=$CHECK_EXPECT
  case $version in
    blue)
      # A stage may be repeated after all is over.
      if is --stage Green_100; then
        say 'blue is not needed any more'
        return
      fi
      ;;
    split) version='' expect='' ;;
    all) version='' ;;
  esac
  charts/load_test.sh --quiet --pause "${CHECK_PAUSE:-0.05}" --min-success "${CHECK_MIN_SUCCESS:-100}" \
    ${CHECK_MAX_P99:+--max-p99 "$CHECK_MAX_P99"} ${expect:+--expect "$expect"} ${CHECK_DATA:+--data "$CHECK_DATA"} \
    "${CHECK_REQUESTS:-100}" "$SCORE_URL" ${version:+"$version"}
}

[ $# -gt 0 ] || refuse 'name blue, green, split or all'
for load in "$@"; do
  case $load in
    blue | green | split | all) ;;
    *) refuse "$load: name blue, green, split or all" ;;
  esac
done
if [ -z "$SCORE_URL" ]; then
  address=$(kubectl get service turnout-gateway --namespace "${TURNOUT_GATEWAY_NAMESPACE:-turnout-system}" \
    --output 'jsonpath={.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}') ||
    refuse 'SCORE_URL: name the URL, or give the right to get the Service turnout-gateway'
  [ -n "$address" ] || refuse 'SCORE_URL: name the URL: the gateway has no address of its own'
  case $address in
    *:*) address=[$address] ;;
  esac
  SCORE_URL=http://$address/score
fi
worst=0
for load in "$@"; do
  report "check_$load" check "$load" || worst=$?
done
exit "$worst"
