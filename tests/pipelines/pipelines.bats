#!/usr/bin/env bats
# `.pipelines`, as far as it goes without a cluster: `tests/pipelines/run` runs it. The walk is that of the YAML, with a
# gateway and models of `turnout local`, which makes and removes the models where a cluster has helm.
# shellcheck disable=SC2030,SC2031 # Each test is a shell of its own.

bats_require_minimum_version 1.5.0

digest=sha256:1111111111111111111111111111111111111111111111111111111111111111
new='"New Model scoring-111111111111"'

setup() {
  cd "$BATS_TEST_DIRNAME/../.." || return
  export HELM=: TURNOUT_TIMEOUT=30s CHECK_PAUSE=0 RESULTS="$BATS_TEST_TMPDIR/results"
  export IMAGE="registry.example.com/scoring@$digest"
}

teardown() {
  if [ -e "$BATS_TEST_TMPDIR/load" ]; then rm "$BATS_TEST_TMPDIR/load"; fi
  if [ -e "$BATS_TEST_TMPDIR/pid" ]; then kill "$(cat "$BATS_TEST_TMPDIR/pid")"; fi
}

# A gateway, and the model A as green.
local_gateway() {
  local directory="$BATS_TEST_TMPDIR/local" left=300
  "$TURNOUT" local --dir "$directory" --listen 127.0.0.1:0 >"$BATS_TEST_TMPDIR/log" 2>&1 3>&- &
  echo $! >"$BATS_TEST_TMPDIR/pid"
  until [ -s "$directory/addresses.json" ]; do
    ((left-- > 0)) || { cat "$BATS_TEST_TMPDIR/log"; return 1; }
    sleep 0.1
  done
  SCORE_URL="http://$(jq -r .gateway "$directory/addresses.json")/score"
  export SCORE_URL TURNOUT_FLAGS="--local $directory"
}

pipeline() {
  tests/pipelines/pipeline "$@"
}

# The pipeline of the YAML; what became of its stages is in `ended`.
walk() {
  run pipeline run .pipelines/abtest.yml --without .pipelines/login.sh --parameter requests=20 \
    --parameter "image=$IMAGE" "$@"
  ended="$(jq -r '.stages | to_entries | map("\(.key) \(.value)") | join(", ")' <<<"${lines[-1]}")"
}

ended_as() {
  [ "$ended" = "$1" ] || { printf '%s\n' "$ended" "$output"; return 1; }
}

# Requests all the while, of which none may fail.
begin_load() {
  touch "$BATS_TEST_TMPDIR/load"
  while [ -e "$BATS_TEST_TMPDIR/load" ]; do
    charts/load_test.sh --quiet --pause 0.02 20 "$SCORE_URL" >>"$BATS_TEST_TMPDIR/load.log" 2>&1 3>&- ||
      touch "$BATS_TEST_TMPDIR/lost"
  done 3>&- &
  loader=$!
}

no_request_failed() {
  rm "$BATS_TEST_TMPDIR/load"
  wait "$loader"
  [ -s "$BATS_TEST_TMPDIR/load.log" ]
  [ ! -e "$BATS_TEST_TMPDIR/lost" ] || { grep -A3 failed "$BATS_TEST_TMPDIR/load.log"; return 1; }
}

answers() {
  run curl --silent --write-out ' %{http_code}' ${2:+--header "x-api-version: $2"} "$SCORE_URL"
  [ "$output" = "$1" ] || { printf 'answered %s and not %s\n' "$output" "$1"; return 1; }
}

turnout() {
  # shellcheck disable=SC2086 # They are words.
  "$TURNOUT" "$@" $TURNOUT_FLAGS
}

@test "the schemas of the services accept what they are given, filled in as well" {
  local azure=(check-jsonschema --builtin-schema vendor.azure-pipelines --data-transform azure-pipelines
    --regex-variant nonunicode)
  pipeline expand .pipelines/abtest.yml >"$BATS_TEST_TMPDIR/filled.json"
  "${azure[@]}" .pipelines/abtest.yml .pipelines/templates/results.yml "$BATS_TEST_TMPDIR/filled.json"
  check-jsonschema --builtin-schema vendor.github-workflows .pipelines/github/abtest.yml
  check-jsonschema --builtin-schema vendor.github-actions .pipelines/github/setup/action.yml
  if command -v actionlint; then actionlint -config-file /dev/null .pipelines/github/abtest.yml; fi
}

@test "what a pipeline of models must hold to holds, and what breaks it is seen" {
  local file change complaint broken=0
  for file in abtest.yml github/abtest.yml; do
    run pipeline rules ".pipelines/$file"
    [ "$status" -eq 0 ] || { echo "$output"; return 1; }
  done
  while IFS='|' read -r file change complaint; do
    rm -rf "$BATS_TEST_TMPDIR/changed"
    cp -r .pipelines "$BATS_TEST_TMPDIR/changed"
    sed -i "$change" "$BATS_TEST_TMPDIR/changed/$file"
    [[ "$file" == github/* ]] || file=abtest.yml
    run pipeline rules "$BATS_TEST_TMPDIR/changed/$file"
    [ "$status" -eq 1 ] && [[ "$output" == *"$complaint"* ]] || { printf '%s\n' "$change" "$output"; return 1; }
    broken=$((broken + 1))
  done <<'TABLE'
templates/stage.yml|s/- deployment:/- job:/|Blue_50: a job is no deployment
abtest.yml|s/environment: abtestenv/environment: other/|Building: deploys to other
abtest.yml|s/default: abtestenv/default: other/|Rollback: deploys to other
templates/stage.yml|s/default: succeeded()/default: always()/|Disable_blue: runs when Green_100 is Failed
templates/stage.yml|s/default: succeeded()/default: succeededOrFailed()/|Blue_50: has a condition of its own
abtest.yml|s/disable_blue.sh/&\n      condition: always()/|Rollback: .pipelines/disable_blue.sh runs by a condition of its own
abtest.yml|/- script: .pipelines.rollback.sh/d|Rollback: removes blue before traffic is back
abtest.yml|s/not(in(dependencies.Blue_100.result.*/eq(dependencies.Blue_100.result, 'Failed'),/;s/not(in(dependencies.Set_P.*/false,/;s/not(in(dependencies.Green_100.*/false))/;s/false/eq('a', 'b')/|Rollback: does not run when Blue_100 is Canceled
abtest.yml|s/ne(dependencies.Blue_Staging.result, 'Skipped')/ne('a', 'b')/|Rollback: runs when nothing was begun
abtest.yml|s/promote.sh Blue_50/promote.sh/|Blue_50: promote.sh is given ''
abtest.yml|s/check.sh all/check.sh/|Blue_100: check.sh is given ''
abtest.yml|s/promote.sh Blue_50/advance.sh/|Blue_50: there is no program .pipelines/advance.sh
abtest.yml|s/- script: .pipelines.stage_blue.sh/- script: sleep 60/|Blue_Staging: a program in the YAML: 'sleep 60'
templates/results.yml|s/condition: .*/enabled: true/|Green_100: publishes no results when it fails
templates/stage.yml|s/IMAGE: .*/IMAGE: latest/|Disable_blue: has no image from Building
templates/stage.yml|s/BEGUN: /OTHER: /|Rollback: BEGUN does not reach rollback.sh
abtest.yml|/- group: /d|Blue_50: CHECK_DATA does not reach check.sh
github/abtest.yml|/BEGUN: /d|Rollback: BEGUN does not reach rollback.sh
github/abtest.yml|/CHECK_PAUSE: /d|Blue_100: CHECK_PAUSE does not reach check.sh
github/abtest.yml|/MODEL_VALUES: /d|Set_Production_Tag: MODEL_VALUES does not reach set_production_tag.sh
TABLE
  [ "$broken" -eq 20 ]
}

@test "helm waits for each model that it makes, puts back or takes away" {
  local lines
  lines="$(cat .pipelines/*.sh | sed -e ':a' -e '/\\$/N; s/\\\n//; ta' |
    grep -E '^ *helm (upgrade --install "model-|rollback|uninstall)')"
  [ "$(wc -l <<<"$lines")" -eq 3 ] && [ "$(grep -c -e ' --wait ' <<<"$lines")" -eq 3 ] || { echo "$lines"; return 1; }
}

@test "GitHub's workflow runs the same scripts at the same stages" {
  diff <(pipeline scripts .pipelines/abtest.yml) <(pipeline scripts .pipelines/github/abtest.yml)
  # Of its jobs only the rollback has a condition.
  [ "$(grep -c '^    if: ' .pipelines/github/abtest.yml)" -eq 1 ]
  [ "$(grep -c 'always()' .pipelines/github/abtest.yml)" -eq 1 ]
}

@test "a good model goes through every stage" {
  local_gateway
  begin_load
  CHECK_EXPECT="New Model scoring-111111111111" walk
  ended_as "Building Succeeded, Blue_Staging Succeeded, Blue_50 Succeeded, Blue_100 Succeeded, Set_Production_Tag \
Succeeded, Green_100 Succeeded, Rollback Skipped, Disable_blue Succeeded"
  no_request_failed
  answers "$new 200"
  # Each step has its results, as XML that can be read.
  python3 - "$RESULTS" <<'PY'
import pathlib, sys, xml.etree.ElementTree as tree
suites = [tree.parse(path).getroot()[0] for path in pathlib.Path(sys.argv[1]).glob("*.xml")]
assert len(suites) == 17 and {suite.get("failures") for suite in suites} == {"0"}, suites
assert {suite.get("name") for suite in suites} >= {"Building", "Set_Production_Tag", "Disable_blue"}
PY
  # The same image again, and the same stages: nothing is left to do.
  walk
  [[ "$ended" == *"Rollback Skipped, Disable_blue Succeeded" ]]
  answers "$new 200"
}

# A model that answers wrongly from a stage on; $2 is how the stages end.
turned_back_at() {
  local_gateway
  begin_load
  walk --at "$1" 'CHECK_EXPECT=what no model <answers>'
  [ "$status" -eq 1 ]
  ended_as "Building Succeeded, $2, Rollback Succeeded, Disable_blue Skipped"
  no_request_failed
  answers '"New Model A" 200'
  answers '"New Model A" 200' green
  turnout wait --idle --timeout 0
  grep -l 'failures="1"' "$RESULTS"/*.xml | grep -q "$1.check_"
  grep -q 'wrong answer' "$RESULTS/$1".check_*.xml
}

@test "a model that fails at Blue_0 is turned back" {
  turned_back_at Blue_Staging \
    "Blue_Staging Failed, Blue_50 Skipped, Blue_100 Skipped, Set_Production_Tag Skipped, Green_100 Skipped"
}

@test "a model that fails at Blue_50 is turned back" {
  turned_back_at Blue_50 \
    "Blue_Staging Succeeded, Blue_50 Failed, Blue_100 Skipped, Set_Production_Tag Skipped, Green_100 Skipped"
}

@test "a model that fails at Blue_100 is turned back" {
  turned_back_at Blue_100 \
    "Blue_Staging Succeeded, Blue_50 Succeeded, Blue_100 Failed, Set_Production_Tag Skipped, Green_100 Skipped"
}

@test "a model that fails at Blue_Green is turned back, and green is what it was" {
  turned_back_at Set_Production_Tag \
    "Blue_Staging Succeeded, Blue_50 Succeeded, Blue_100 Succeeded, Set_Production_Tag Failed, Green_100 Skipped"
}

@test "a model that fails at Green_100 gives way to the one before" {
  turned_back_at Green_100 \
    "Blue_Staging Succeeded, Blue_50 Succeeded, Blue_100 Succeeded, Set_Production_Tag Succeeded, Green_100 Failed"
}

@test "an approval that is not given turns it back as well" {
  local_gateway
  walk --reject Blue_100
  ended_as "Building Succeeded, Blue_Staging Succeeded, Blue_50 Succeeded, Blue_100 Skipped, Set_Production_Tag Skipped, \
Green_100 Skipped, Rollback Succeeded, Disable_blue Skipped"
  answers '"New Model A" 200'
}

@test "what was in production before the run is not turned back by it" {
  local_gateway
  walk
  [[ "$ended" == *"Rollback Skipped, Disable_blue Succeeded" ]]
  before="$(turnout rollout status -o json | jq -S .status.history)"
  walk --reject Blue_100
  ended_as "Building Succeeded, Blue_Staging Succeeded, Blue_50 Succeeded, Blue_100 Skipped, Set_Production_Tag Skipped, \
Green_100 Skipped, Rollback Succeeded, Disable_blue Skipped"
  # Nor by a check that fails, at its first stage and at its last.
  for stage in Blue_Staging Green_100; do
    walk --at "$stage" 'CHECK_EXPECT=what no model answers' --at "$stage" CHECK_MAX_P99=0.001
    [[ "$ended" == *"$stage Failed"*"Rollback Failed, Disable_blue Skipped" ]] || { ended_as ''; return 1; }
    [[ "$output" == *"this run has begun nothing"* ]]
  done
  # Nor by what fails before anything can begin.
  walk --at Blue_Staging HELM=false --at Rollback HELM=:
  [[ "$ended" == *"Blue_Staging Failed"*"Rollback Succeeded, Disable_blue Skipped" ]] || { ended_as ''; return 1; }
  diff <(echo "$before") <(turnout rollout status -o json | jq -S .status.history)
  answers "$new 200"
  # Who asks for it gets it.
  .pipelines/rollback.sh
  answers '"New Model A" 200'
}

@test "the model in production takes the place of one that is being rolled out" {
  local_gateway
  walk
  turnout rollout start --revision C --to Blue_50 --wait
  .pipelines/stage_blue.sh
  [ "$(turnout rollout status -o json | jq -c '[.spec.revision, .status.stableRevision, .status.weights]')" = \
    '["scoring-111111111111","scoring-111111111111",{"green":100,"blue":0}]' ]
  answers "$new 200"
  walk
  [[ "$ended" == *"Green_100 Succeeded, Rollback Skipped, Disable_blue Succeeded" ]]
}

# What the scripts say once they have read common.sh, in the shell's words.
common() {
  run sh -c ". .pipelines/common.sh; $1" .pipelines/by_hand
}

@test "an image is named by its whole digest, and by nothing else" {
  local digits="${digest#sha256:}" named is_so
  stand_in docker :
  while read -r is_so named; do
    IMAGE="$(printf '%b' "$named")" common need_image
    [ "$status" -eq "$is_so" ] && [[ "$is_so" = 0 || "$output" == *"name the new model's image by its digest"* ]] ||
      { echo "$named: $status: $output"; return 1; }
    TURNOUT=turnout-of-nobody TURNOUT_IMAGE="$(printf '%b' "$named")" run .pipelines/install_turnout.sh
    [ "$status" -eq "$is_so" ] && [[ "$is_so" = 0 || "$output" == *"name turnout's image by its digest"* ]] ||
      { echo "$named: $status: $output"; return 1; }
  done <<TABLE
0 registry.example.com/scoring@$digest
0 Registry:5000/team/my__scoring.v2:7@$digest
0 scoring@$digest
2 registry.example.com/scoring:latest
2 registry.example.com/scoring@sha256:3f2a61d09be4
2 registry.example.com/scoring@${digest}1
2 registry.example.com/scoring@${digest%1}g
2 registry.example.com/scoring@${digest^^}
2 registry.example.com/scoring@$digest,deployment.restricted=false
2 registry.example.com/a,scoring@$digest
2 https://registry.example.com/scoring@$digest
2 a\\040b@$digest
2 a@$digest\\nbegun=no
2 a@$digest@$digest
2 @$digest
2 $digits
2 $digest
TABLE
}

@test "an image without a digest begins nothing" {
  IMAGE=registry.example.com/scoring:latest walk
  [[ "$ended" == "Building Failed, Blue_Staging Skipped, "*", Rollback Skipped, Disable_blue Skipped" ]]
  [[ "$output" == *"name the new model's image by its digest"* ]]
}

@test "what a former run left with weight loses it before the next image comes" {
  local_gateway
  for left_at in Blue_50 Blue_Green; do
    turnout rollout start --revision B --to "$left_at" --wait
    .pipelines/stage_blue.sh
    [ "$(turnout rollout status -o json | jq -c '[.spec.revision, .status.stage, .status.weights]')" = \
      '["scoring-111111111111","Blue_0",{"green":100,"blue":0}]' ]
    answers '"New Model A" 200'
    answers "$new 200" blue
  done
}

@test "a run that was superseded changes nothing any more" {
  local_gateway
  .pipelines/stage_blue.sh
  turnout rollout start --revision C --to Blue_50 --wait
  run .pipelines/promote.sh Blue_100
  [ "$status" -eq 1 ] && [[ "$output" == *"it has been superseded" ]]
  run .pipelines/set_production_tag.sh
  [ "$status" -eq 1 ]
  run .pipelines/rollback.sh
  [ "$status" -eq 0 ] && [[ "$output" == *"there is nothing to turn back" ]]
  HELM=false run .pipelines/disable_blue.sh
  [ "$status" -eq 0 ] && [[ "$output" == *"blue stays: C is being rolled out"* ]]
  [ "$(turnout rollout status -o json | jq -r .status.stage)" = Blue_50 ]
}

@test "by hand nothing is turned back where nothing was rolled out" {
  local_gateway
  IMAGE='' run .pipelines/rollback.sh
  [ "$status" -eq 0 ] && [[ "$output" == *"there is nothing to turn back" ]] || { echo "$status: $output"; return 1; }
  # The same with an image that was never rolled out.
  run .pipelines/rollback.sh
  [ "$status" -eq 0 ] && [[ "$output" == *"there is nothing to turn back" ]]
  answers '"New Model A" 200'
}

@test "blue is not removed while it has weight, nor green replaced" {
  local_gateway
  .pipelines/stage_blue.sh
  .pipelines/promote.sh Blue_50
  # It would end with 1 if it came to that.
  HELM=false TURNOUT_TIMEOUT=1s run .pipelines/disable_blue.sh
  [ "$status" -eq 3 ] || { echo "$output"; return 1; }
  HELM=false run .pipelines/set_production_tag.sh
  [ "$status" -eq 2 ] && [[ "$output" == *"green may be replaced at Blue_Green, and the rollout is at Blue_50"* ]]
  answers "$new 200" blue
}

@test "where nothing can be read nothing is done, and it is not taken for well" {
  export TURNOUT_FLAGS="--local $BATS_TEST_TMPDIR/nowhere"
  for script in stage_blue.sh rollback.sh disable_blue.sh set_production_tag.sh 'promote.sh Blue_50'; do
    run bash -c ".pipelines/$script"
    [ "$status" -eq 2 ] && [[ "$output" == *nowhere* ]] || { echo "$script: $status: $output"; return 1; }
  done
}

@test "a stage that is reached is not entered again" {
  local_gateway
  .pipelines/stage_blue.sh
  .pipelines/promote.sh Blue_100
  .pipelines/stage_blue.sh
  run .pipelines/promote.sh Blue_50
  [ "$status" -eq 0 ] && [[ "$output" == *"Blue_50 is reached"* ]]
  [ "$(turnout rollout status -o json | jq -r .status.stage)" = Blue_100 ]
}

@test "a check fails by successes, by latency and by answers, and runs all its loads" {
  local_gateway
  CHECK_REQUESTS=2 CHECK_EXPECT='Model A' run .pipelines/check.sh green split all
  [ "$status" -eq 0 ]
  CHECK_REQUESTS=2 CHECK_EXPECT='Model A' run .pipelines/check.sh blue green
  [ "$status" -eq 1 ] && [[ "$output" == *"wrong answer"*"with x-api-version: green: 2 succeeded"* ]]
  CHECK_REQUESTS=2 CHECK_MAX_P99=0.001 run .pipelines/check.sh split
  [ "$status" -eq 1 ] && [[ "$output" == *"and may be 0.001 ms"* ]]
  SCORE_URL=http://127.0.0.1:1/score CHECK_REQUESTS=2 run .pipelines/check.sh split
  [ "$status" -eq 1 ] && [[ "$output" == *"0.00 % succeeded, and 100 % have to"* ]]
}

@test "a check that has no name is refused before any other begins" {
  export SCORE_URL=http://127.0.0.1:1/score
  for name in everything Blue blue/green blue,green '' '*'; do
    run .pipelines/check.sh split "$name"
    [ "$status" -eq 2 ] && [ "$output" = "check.sh: $name: name blue, green, split or all" ] || { echo "$output"; return 1; }
  done
}

@test "what no file can be written about is not done, and what an XML file cannot have is left out" {
  STAGE=no/such/stage common 'report step say begun'
  [ "$status" -ne 0 ] && [[ "$output" != *begun* ]] || { echo "$status: $output"; return 1; }
  common "report step printf 'a\\377b\\001\\303\\274<]]>'"
  [ "$status" -eq 0 ]
  [ "$(python3 -c 'import sys, xml.etree.ElementTree as tree; print(tree.parse(sys.argv[1]).find(".//system-out").text)' \
    "$RESULTS/by_hand.step.xml")" = 'abü<]]>' ]
}

@test "a number of seconds is a time-out, and another place is none" {
  TURNOUT_TIMEOUT=90 TURNOUT_CONTEXT=other TURNOUT_KUBECONFIG=/other TURNOUT_NAMESPACE=other TURNOUT_LOCAL=/other \
    common "env | grep '^TURNOUT_.*\\(TIME\\|other\\)'"
  [ "$output" = TURNOUT_TIMEOUT=90s ] || { echo "$output"; return 1; }
}

@test "helm that cannot tell is not taken for no release" {
  local complaint expected
  while IFS='|' read -r complaint expected; do
    stand_in helm "echo 'Error: $complaint' >&2; exit 1"
    HELM=helm common 'image_of green'
    [ "$status" -eq "$expected" ] || { echo "$complaint: $status: $output"; return 1; }
  done <<'TABLE'
release: not found|0
Kubernetes cluster unreachable: getting credentials: exec: executable kubelogin not found|1
secrets is forbidden|1
TABLE
}

# Programs that are not here: what they are asked stands in `asked`.
stand_in() {
  mkdir -p "$BATS_TEST_TMPDIR/bin"
  printf '#!/bin/sh\nprintf "%%s\\n" "%s $*" >>"%s"\n%s\n' "$1" "$BATS_TEST_TMPDIR/asked" "$2" >"$BATS_TEST_TMPDIR/bin/$1"
  chmod +x "$BATS_TEST_TMPDIR/bin/$1"
  PATH="$BATS_TEST_TMPDIR/bin:$PATH"
}

@test "an approver who is not known makes no environment" {
  # shellcheck disable=SC2016 # It is a script.
  stand_in az 'case "$*" in *typo*) echo "no such user" >&2; exit 1 ;; *"user show"*) echo "id-$7" ;; *) echo 7 ;; esac'
  while read -r -a emails; do
    : >"$BATS_TEST_TMPDIR/asked"
    run .pipelines/environment.sh https://dev.azure.com/team project abtestenv "${emails[@]}"
    [ "$status" -eq 2 ] && [[ "$output" == *"typo@x is nobody that can approve"* ]] || { echo "$status: $output"; return 1; }
    run grep -c rest "$BATS_TEST_TMPDIR/asked"
    [ "$output" -eq 0 ]
  done <<'TABLE'
typo@x
a@x typo@x c@x
a@x c@x typo@x
TABLE
  .pipelines/environment.sh https://dev.azure.com/team project abtestenv a@x c@x
  grep -q '"approvers":\[{"id":"id-a@x"},{"id":"id-c@x"}\]' "$BATS_TEST_TMPDIR/asked"
  [ "$(grep -c rest "$BATS_TEST_TMPDIR/asked")" -eq 3 ]
}

@test "turnout comes out of a registry of Azure's by a login, and out of another without one" {
  # shellcheck disable=SC2016 # It is a script.
  stand_in docker 'case "$1" in create) echo container ;; cp) echo "#!/bin/sh" >"$3" ;; esac'
  stand_in az ''
  while read -r registry expected; do
    : >"$BATS_TEST_TMPDIR/asked"
    mkdir -p "$BATS_TEST_TMPDIR/$registry" && cp -r .pipelines "$BATS_TEST_TMPDIR/$registry"
    TURNOUT=turnout-of-nobody TURNOUT_IMAGE="$registry/turnout@$digest" \
      "$BATS_TEST_TMPDIR/$registry/.pipelines/install_turnout.sh"
    [ -s "$BATS_TEST_TMPDIR/$registry/target/bin/turnout" ]
    [ "$(head -n 2 "$BATS_TEST_TMPDIR/asked" | cut -d ' ' -f 1-5 | paste -sd ,)" = "$expected" ] ||
      { cat "$BATS_TEST_TMPDIR/asked"; return 1; }
  done <<TABLE
team.azurecr.io az acr login --name team,docker create team.azurecr.io/turnout@$digest
ghcr.io docker create ghcr.io/turnout@$digest,docker cp container:/turnout target/bin/turnout
TABLE
}

@test "a check that cannot read where the gateway is asks for its URL" {
  unset SCORE_URL
  stand_in kubectl 'echo "Error from server (Forbidden): services is forbidden" >&2; exit 1'
  run .pipelines/check.sh split
  [ "$status" -eq 2 ] && [[ "$output" == *Forbidden*"SCORE_URL: name the URL"* ]] || { echo "$status: $output"; return 1; }
  stand_in kubectl ''
  run .pipelines/check.sh split
  [ "$status" -eq 2 ] && [[ "$output" == *"SCORE_URL: name the URL"* ]] || { echo "$status: $output"; return 1; }
  stand_in kubectl 'printf ::1'
  CHECK_REQUESTS=1 run .pipelines/check.sh split
  [[ "$output" == *"1 request to http://[::1]/score: "* ]] || { echo "$status: $output"; return 1; }
}

@test "an image that was pushed is named by its digest, as its registry has it" {
  while read -r registry said expected; do
    stand_in podman "case \"\$*\" in *inspect*) printf '%s\\n' other.example.com/scoring@sha256:0 $said ;; esac"
    IMAGE='' ENGINE=podman IMAGE_REPO_NAME="$registry" IMAGE_TAG=7 run .pipelines/build.sh
    if [ "$expected" = - ]; then
      [ "$status" -eq 2 ] && [[ "$output" == *"has no digest of $registry/scoring:7"* ]] || { echo "$output"; return 1; }
    else
      [ "$status" -eq 0 ] && [ "${lines[-1]}" = "$expected" ] || { echo "$output"; return 1; }
    fi
    # The images of the project are pushed the same way; the inventory of one is what a build would write.
    stand_in docker "case \"\$*\" in *inspect*) printf '%s\\n' other.example.com/scoring-a@sha256:0 ${said/scoring/scoring-a} ;;
      *dest=*) echo Python 3.13.1 >target/images/scoring-a/python ;; esac"
    run charts/images/build --engine docker --push "$registry" --tag 7 scoring-a
    if [ "$expected" = - ]; then
      [ "$status" -eq 2 ] && [[ "$output" == *"has no digest of $registry/scoring-a:7"* ]] || { echo "$output"; return 1; }
    else
      [ "$status" -eq 0 ] && [ "${lines[-1]}" = "${expected/scoring/scoring-a}" ] || { echo "$output"; return 1; }
    fi
  done <<TABLE
registry.example.com registry.example.com/scoring@$digest registry.example.com/scoring@$digest
docker.io/team team/scoring@$digest docker.io/team/scoring@$digest
docker.io/team docker.io/team/scoring@$digest docker.io/team/scoring@$digest
docker.io/library scoring@$digest docker.io/library/scoring@$digest
team team/scoring@$digest team/scoring@$digest
registry.example.com team/scoring@$digest -
registry.example.com '' -
TABLE
}
