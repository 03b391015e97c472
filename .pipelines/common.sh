# What the scripts of a pipeline share; each reads it first. Whoever runs one by hand sets the same variables:
#
#   IMAGE              the new model's image, by digest, as REGISTRY/NAME@sha256:...
#   K8S_AB_NAMESPACE   where the models are [default: abtesting]
#   ROLLOUT            the ModelRollout [default: model]
#   MODEL_VALUES       a file of further values of charts/abtest-model, for both models
#   ROUTES_VALUES      a file of further values of charts/abtest-istio
#   TURNOUT_TIMEOUT    how long each wait may take, as `turnout` reads it [default: 10m]
#
# By hand alone, since pipelines leave them as they are:
#
#   REVISION           what the rollout calls it [default: NAME and the first 12 digits of the digest, as the chart has it]
#   TURNOUT_FLAGS      where rollouts are, instead of that namespace: --context NAME -n NAME, with HELM_KUBECONTEXT for helm,
#                      or --local DIR
#   TURNOUT, HELM      the programs; `:` for HELM where somebody else makes the models, as `turnout local` does
#   RESULTS            where a JUnit file of each step goes [default: target/pipelines]
#
# shellcheck shell=sh
set -eu
cd "$(dirname "$0")/.."

PATH=$PWD/target/bin:$PATH
: "${IMAGE:=}" "${REVISION:=}" "${K8S_AB_NAMESPACE:=abtesting}" "${ROLLOUT:=model}" "${MODEL_VALUES:=}" "${ROUTES_VALUES:=}"
: "${TURNOUT:=turnout}" "${HELM:=helm}" "${RESULTS:=target/pipelines}" "${TURNOUT_TIMEOUT:=10m}"
: "${TURNOUT_FLAGS:=--namespace $K8S_AB_NAMESPACE}"
stage=${STAGE:-${SYSTEM_STAGENAME:-${GITHUB_JOB:-by_hand}}}
# Seconds are a number alone to `turnout`, and not to helm.
case $TURNOUT_TIMEOUT in
  *[!0-9]*) ;;
  *) TURNOUT_TIMEOUT=${TURNOUT_TIMEOUT}s ;;
esac
export TURNOUT_TIMEOUT
# For `turnout` these would be another place beside the one that the flags name, or than helm's.
unset TURNOUT_NAMESPACE TURNOUT_LOCAL TURNOUT_CONTEXT TURNOUT_KUBECONFIG
# GitHub sets what nobody has set to nothing.
if [ -z "${TURNOUT_GATEWAY_NAMESPACE:-}" ]; then unset TURNOUT_GATEWAY_NAMESPACE; fi

refuse() {
  printf '%s: %s\n' "$(basename "$0")" "$1" >&2
  exit 2
}

say() {
  printf '%s\n' "$1"
}

# What later stages are told: output NAME VALUE
output() {
  if [ -n "${TF_BUILD:-}" ]; then say "##vso[task.setvariable variable=$1;isOutput=true]$2"; fi
  if [ -n "${GITHUB_OUTPUT:-}" ]; then say "$1=$2" >>"$GITHUB_OUTPUT"; fi
}

# Lets docker into the registry of an image, if it is one of Azure's, as whom `az` is logged in.
log_in_to() {
  case ${1%%/*} in
    *.azurecr.io) az acr login --name "${1%%.*}" ;;
  esac
}

# Whether an image is named by its digest, a whole one, with nothing that would be something else to helm.
is_by_digest() {
  case ${1%@sha256:*} in
    '' | "$1" | *//* | *[!A-Za-z0-9._:/-]*) return 1 ;;
  esac
  case ${1##*@sha256:} in
    *[!0-9a-f]*) return 1 ;;
  esac
  [ "$(printf %s "${1##*@sha256:}" | wc -c)" -eq 64 ]
}

# Sets REVISION. A tag may be another image tomorrow, and another one in each stage.
need_image() {
  is_by_digest "$IMAGE" ||
    refuse "IMAGE: name the new model's image by its digest, as REGISTRY/NAME@sha256:..., and not as '$IMAGE'"
  if [ -z "$REVISION" ]; then
    name=${IMAGE##*/}
    digest=${IMAGE##*@sha256:}
    REVISION=$(printf '%s-%.12s' "${name%%[:@]*}" "$digest")
    # A label has 63 characters.
    if [ ${#REVISION} -gt 63 ]; then
      REVISION=$(printf '%.54s-%.8s' "$REVISION" "$(printf '%s' "$IMAGE" | sha256sum)")
    fi
  fi
}

# shellcheck disable=SC2086 # TURNOUT_FLAGS are words.
rollout() {
  verb=$1
  shift
  "$TURNOUT" rollout "$verb" "$ROLLOUT" $TURNOUT_FLAGS "$@"
}

# shellcheck disable=SC2086
await() {
  "$TURNOUT" wait "$ROLLOUT" $TURNOUT_FLAGS "$@"
}

# Whether what `await` waits for is there already.
is() {
  await "$@" --timeout 0 >/dev/null 2>&1
}

# A field of the rollout, in jq's words; empty where there is none. That it has failed is a status like any other.
field() {
  code=0
  status=$(rollout status -o json) || code=$?
  if [ "$code" -gt 1 ]; then exit "$code"; fi
  printf '%s' "$status" | jq -r "$1 // empty"
}

# Somebody may have started another revision between two stages.
is_ours() {
  wanted=$(field .spec.revision) || exit
  [ "$wanted" = "$REVISION" ]
}

need_ours() {
  need_image
  if ! is_ours; then
    say "$ROLLOUT is at revision ${wanted:-(none)}, and this run rolls $REVISION out: it has been superseded" >&2
    exit 1
  fi
}

helm() {
  command "$HELM" "$@" --namespace "$K8S_AB_NAMESPACE"
}

# The image that the newest release of a model names, or that of release number $2; empty where there is none. That helm
# cannot tell is no answer.
image_of() {
  mkdir -p "$RESULTS"
  complaint=$RESULTS/helm.log
  if values=$(helm get values "model-$1" ${2:+--revision "$2"} --output json 2>"$complaint"); then
    printf '%s' "$values" | jq -r '.deployment.image.name // empty'
  elif ! grep -q 'release: not found' "$complaint"; then
    cat "$complaint" >&2
    return 1
  fi
}

# Makes a model of an image, and ends when it is loaded: put COLOUR IMAGE REVISION
put() {
  helm upgrade --install "model-$1" charts/abtest-model ${MODEL_VALUES:+--values "$MODEL_VALUES"} \
    --set "deployment.name=model-$1,deployment.bluegreen=$1,deployment.image.name=$2" \
    --set-string "deployment.revision=$3,namespace=$K8S_AB_NAMESPACE" --wait --timeout "$TURNOUT_TIMEOUT"
}

# Waits until no request needs the model that is there, if there is one of another image.
make_way() {
  there=$(image_of "$1")
  if [ -n "$there" ] && [ "$there" != "$2" ]; then await --safe-to-remove "$1"; fi
}

# As XML can have it: an answer may be cut within a letter.
escape() {
  tr -d '\000-\010\013\014\016-\037' <"$1" | iconv -c -f UTF-8 -t UTF-8 | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g'
}

# Runs a command, and writes how it ended as a JUnit file: report NAME COMMAND...
report() {
  case_name=$1
  shift
  mkdir -p "$RESULTS"
  file=$RESULTS/$stage.$case_name
  echo 1 >"$file.code"
  # `set -e` holds in what stands in no condition.
  (
    set +e
    (set -e; "$@")
    echo $? >"$file.code"
  ) 2>&1 | tee "$file.log"
  code=$(cat "$file.code")
  failures=0 tag=system-out
  if [ "$code" -ne 0 ]; then failures=1 tag=failure; fi
  {
    printf '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites><testsuite name="%s" tests="1" failures="%s">' \
      "$stage" "$failures"
    printf '<testcase classname="%s" name="%s"><%s>' "$stage" "$case_name" "$tag"
    escape "$file.log"
    printf '</%s></testcase></testsuite></testsuites>\n' "$tag"
  } >"$file.xml"
  rm -f "$file.code" "$file.log"
  return "$code"
}
