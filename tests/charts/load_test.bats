#!/usr/bin/env bats
# charts/load_test.sh against a gateway and two models (`turnout local`), and all that it promises: `.ci/shell` runs it.
# shellcheck disable=SC2030,SC2031,SC2154 # Each test is a shell of its own, in which `run` assigns stderr.

bats_require_minimum_version 1.5.0

setup_file() {
  local directory="$BATS_FILE_TMPDIR/local"
  "$TURNOUT" local --dir "$directory" --listen 127.0.0.1:0 >"$BATS_FILE_TMPDIR/log" 2>&1 3>&- &
  echo $! >"$BATS_FILE_TMPDIR/pid"
  eventually test -s "$directory/addresses.json"
  GATEWAY="$(sed -n 's/.*"gateway": "\(.*\)".*/\1/p' "$directory/addresses.json")"
  export GATEWAY
  cat >"$directory/documents/further.yaml" <<'YAML'
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: posts, namespace: abtesting}
spec:
  hosts: [posts.example.com]
  gateways: [abtest-gateway]
  http:
  - match: [{headers: {content-length: {exact: "3"}}}]
    directResponse: {status: 200, body: {string: three bytes}}
  - match: [{method: {exact: POST}, headers: {content-type: {exact: text/csv}}}]
    directResponse: {status: 200, body: {string: as text/csv}}
  - match: [{method: {exact: POST}, headers: {content-type: {exact: application/json}}}]
    directResponse: {status: 200, body: {string: as JSON}}
  - directResponse: {status: 404}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: gone, namespace: abtesting}
spec:
  hosts: [gone.example.com]
  gateways: [abtest-gateway]
  http:
  - route: [{destination: {host: model-svc-red.abtesting.svc.cluster.local, port: {number: 5001}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: model-svc-red, namespace: abtesting}
spec:
  hosts: [model-svc-red.abtesting.svc.cluster.local]
  ports: [{number: 5001, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: []
YAML
  eventually curl --silent --fail --output /dev/null --data x --header 'content-type: text/csv' \
    --header 'host: posts.example.com' "http://$GATEWAY/"
}

teardown_file() {
  kill "$(cat "$BATS_FILE_TMPDIR/pid")"
}

# Tries a command until it succeeds; after half a minute it fails.
eventually() {
  local left=300
  until "$@"; do
    ((left-- > 0)) || { cat "$BATS_FILE_TMPDIR/log"; return 1; }
    sleep 0.1
  done
}

# The script, without a pause; what it printed is in `lines`, its summary in `stderr`.
load() {
  run --separate-stderr "$BATS_TEST_DIRNAME/../../charts/load_test.sh" --pause 0 "$@"
}

ended_with() {
  [ "$status" -eq "$1" ] || { printf '%s\n%s\n' "$output" "$stderr"; return 1; }
}

said() {
  [[ "$stderr" == *"$1"* ]] || { printf 'not said: %s\n%s\n' "$1" "$stderr"; return 1; }
}

@test "the sample's line prints each answer, and who gave them" {
  run --separate-stderr "$BATS_TEST_DIRNAME/../../charts/load_test.sh" 3 "$GATEWAY/score"
  ended_with 0
  [ "$output" = $'"New Model A"\n"New Model A"\n"New Model A"' ]
  said "3 requests to $GATEWAY/score: 3 succeeded (100.00 %), 0 failed"
  said '       3  100.0 %  green'
  said 'latency: p50 '
}

@test "the third argument picks the version" {
  load 2 "$GATEWAY/score" blue
  ended_with 0
  [ "$output" = $'"New Model B"\n"New Model B"' ]
  said 'with x-api-version: blue: 2 succeeded'
  load 1 "$GATEWAY/score" green
  [ "$output" = '"New Model A"' ]
}

@test "a response header names the model where there is one, and else its answer" {
  load 2 "$GATEWAY/score" blue --served-by X-Served-By
  said '       2  100.0 %  blue'
  load 2 "$GATEWAY/score" --served-by x-nothing
  said '       2  100.0 %  "New Model A"'
}

@test "answers are not printed if they are not wanted" {
  load --quiet 1 "$GATEWAY/score"
  ended_with 0
  [ "$output" = '' ]
}

@test "no request is lost between those that go at the same time" {
  load 7 "$GATEWAY/score" --concurrency 3
  ended_with 0
  [ "${#lines[@]}" -eq 7 ]
  said '7 requests'
  load 2 "$GATEWAY/score" --concurrency=5
  [ "${#lines[@]}" -eq 2 ]
}

@test "a number is decimal, with zeros before it as well" {
  while read -r count concurrency requests; do
    load "$count" "$GATEWAY/score" --concurrency "$concurrency"
    ended_with 0
    said "$requests requests to "
    [ "${#lines[@]}" -eq "$requests" ]
  done <<'TABLE'
010 1 10
08 1 8
09 08 9
2 0100000000 2
TABLE
}

# Its answers are those of an HTTPS server whose certificate nobody knows; curl says so in several lines.
https() {
  openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 1 -keyout "$BATS_TEST_TMPDIR/key" \
    -out "$BATS_TEST_TMPDIR/certificate" 2>/dev/null
  openssl s_server -accept 127.0.0.1:0 -www -key "$BATS_TEST_TMPDIR/key" -cert "$BATS_TEST_TMPDIR/certificate" \
    >"$BATS_TEST_TMPDIR/https" 2>&1 3>&- &
  https=$!
  eventually grep -q '^ACCEPT .*:' "$BATS_TEST_TMPDIR/https"
  address="$(sed -n 's/^ACCEPT //p' "$BATS_TEST_TMPDIR/https")"
}

# A curl that ends with this code and, in the shell's words, this answer.
curl_says() {
  cat >"$BATS_TEST_TMPDIR/bin/curl" <<SH
#!/bin/sh
echo >>"$BATS_TEST_TMPDIR/asked"
while [ "\$1" != --output ]; do shift; done
{ $2; } >"\$2"
echo 200 0.001
exit $1
SH
  chmod +x "$BATS_TEST_TMPDIR/bin/curl"
}

# What a pipeline's service, or a terminal, would take for a command is none in the summary, however many there are.
@test "every awk counts the same, and loses no failure" {
  local https address awk tried=0
  https
  mkdir "$BATS_TEST_TMPDIR/bin"
  PATH="$BATS_TEST_TMPDIR/bin:$PATH"
  for awk in mawk gawk original-awk busybox; do
    command -v "$awk" >/dev/null || continue
    ln -sf "$(command -v "$awk")" "$BATS_TEST_TMPDIR/bin/awk"
    load --quiet 3 "https://$address/score"
    ended_with 1
    said '3 requests'
    said '0 succeeded (0.00 %), 3 failed'
    said '       3  failed   curl: (60) '
    load --quiet 3 "$GATEWAY/score" green --expect '"New \Model' --min-success 0 --header 'x-quoted: "a\b"'
    ended_with 0
    said '       3  failed   wrong answer: "New Model A"'
    load --quiet 12 "$GATEWAY/score" --concurrency 2 --max-p99 20000
    ended_with 0
    said '      12  100.0 %  green'
    LC_ALL=C.UTF-8 load --quiet 1 "$GATEWAY/score" --header $'x-latin-1: \351'
    [[ "$stderr" != *awk* ]] || { echo "$stderr"; return 1; }
    curl_says 137 :
    load --quiet 1 "$GATEWAY/score"
    said '       1  failed   curl ended with 137'
    curl_says 0 "printf '\\033[31m###vso[task.complete]\\a%s' \$(wc -l <'$BATS_TEST_TMPDIR/asked')"
    load --quiet 25 "$GATEWAY/score"
    said $'       1    4.0 %  [31m#vso[task.complete] 2\n'
    said '       5   20.0 %  others'
    load --quiet 25 "$GATEWAY/score" --expect 'what nobody says' --min-success 0
    said '       1  failed   wrong answer: [31m#vso[task.complete] 27'
    said '       5  failed   others'
    rm "$BATS_TEST_TMPDIR/bin/curl" "$BATS_TEST_TMPDIR/asked"
    tried=$((tried + 1))
  done
  kill "$https"
  [ "$tried" -ge 1 ]
}

@test "every shell sends the same" {
  local shell tried=0
  for shell in dash 'busybox sh' 'bash --posix' mksh yash; do
    command -v "${shell%% *}" >/dev/null || continue
    # shellcheck disable=SC2086 # They are words.
    run --separate-stderr $shell "$BATS_TEST_DIRNAME/../../charts/load_test.sh" --pause 0 3 "$GATEWAY/score" blue \
      --concurrency 2 --header 'x-quoted: "a\b"' --data '{"data": ["\n"]}' --expect 'New Model B'
    ended_with 0
    said '       3  100.0 %  blue'
    [ "${#lines[@]}" -eq 3 ]
    tried=$((tried + 1))
  done
  [ "$tried" -ge 2 ]
}

# Three requests at most of the six have come to something.
@test "requests without a result have failed" {
  export TMPDIR="$BATS_TEST_TMPDIR/scratch"
  mkdir "$TMPDIR"
  local min_success expected code script worker
  while read -r min_success expected; do
    "$BATS_TEST_DIRNAME/../../charts/load_test.sh" --quiet --pause 1 --concurrency 2 --min-success "$min_success" 6 \
      "$GATEWAY/score" 2>"$BATS_TEST_TMPDIR/said" 3>&- &
    script=$! code=0
    eventually answered
    worker="$(pgrep -P "$script" | head -n 1)"
    kill "$worker"
    wait "$script" || code=$?
    stderr="$(cat "$BATS_TEST_TMPDIR/said")"
    said '6 requests'
    said 'failed   no result'
    [ "$code" -eq "$expected" ] || { echo "$code"; return 1; }
  done <<'TABLE'
100 1
50 0
TABLE
}

@test "a body is posted, as JSON or as what it is" {
  load 1 "$GATEWAY/" --header 'host: posts.example.com' --data '{"data": ["\"", "\\"]}'
  ended_with 0
  [ "$output" = 'as JSON' ]
  echo 1,2 >"$BATS_TEST_TMPDIR/body"
  load 1 "$GATEWAY/" --header 'host: posts.example.com' --data "@$BATS_TEST_TMPDIR/body" --content-type text/csv
  [ "$output" = 'as text/csv' ]
  load 1 "$GATEWAY/" --header 'host: posts.example.com' --data x --header 'Content-Type: text/csv'
  [ "$output" = 'as text/csv' ]
  load 1 "$GATEWAY/" --header 'host: posts.example.com'
  ended_with 1
  said '       1  failed   status 404'
}

# It may be a pipe, which has it once.
@test "a body goes with every request" {
  local data
  for data in @- @<(printf abc) "@$BATS_TEST_TMPDIR/body" abc; do
    printf abc >"$BATS_TEST_TMPDIR/body"
    load 2 "$GATEWAY/" --header 'host: posts.example.com' --data "$data" < <(printf abc)
    [ "$output" = $'three bytes\nthree bytes' ] || { printf '%s\n' "$data" "$output" "$stderr"; return 1; }
  done
}

@test "a request that failed is told with its reason" {
  load 2 "$GATEWAY/score" --header 'host: gone.example.com'
  ended_with 1
  said '2 requests'
  said '0 succeeded (0.00 %), 2 failed'
  said '       2  failed   status 503 '
  said 'check failed: 0.00 % succeeded, and 100 % have to'
  load 20 127.0.0.1:1/score --concurrency 4
  ended_with 1
  said '      20  failed   curl: (7) Failed to connect to 127.0.0.1 port 1: '
}

@test "how many have to succeed can be said" {
  load 2 "$GATEWAY/score" --header 'host: gone.example.com' --min-success 0
  ended_with 0
  load 2 "$GATEWAY/score" --header 'host: gone.example.com' --min-success 0.5
  ended_with 1
  load 2 "$GATEWAY/score" --min-success 100
  ended_with 0
}

@test "a wrong answer is a failure" {
  load 2 "$GATEWAY/score" --expect 'Model A'
  ended_with 0
  load 2 "$GATEWAY/score" blue --expect 'Model A'
  ended_with 1
  said '       2  failed   wrong answer: "New Model B"'
}

@test "the latency can be held to a limit" {
  load 2 "$GATEWAY/score" --max-p99 20000
  ended_with 0
  load 2 "$GATEWAY/score" --max-p99 0.001
  ended_with 1
  said ' ms, and may be 0.001 ms'
  load 1 127.0.0.1:1/score --max-p99 20000 --min-success 0
  ended_with 1
  said 'no request succeeded, so that there is no p99'
}

@test "a line that is wrong is refused by what is wrong" {
  while IFS='|' read -r arguments reason; do
    # shellcheck disable=SC2086 # They are words.
    load $arguments
    ended_with 2
    said "$reason"
  done <<'TABLE'
|COUNT and URL are needed
10|COUNT and URL are needed
0 localhost|COUNT: 0 is too small
ten localhost|COUNT: ten is not a whole number
1 localhost blue green|green: there is one argument too many
1 localhost --nothing 1|--nothing: there is no such option
1 localhost --data|--data: is unknown, or its value is missing
1 localhost --concurrency 0|--concurrency: 0 is too small
1 localhost --pause 1.2.3|--pause: 1.2.3 is not a number
1 localhost --min-success most|--min-success: most is not a number
000 localhost|COUNT: 000 is too small
12345678901234567890 localhost|COUNT: 12345678901234567890 is too large
1 localhost --concurrency 1234567890|--concurrency: 1234567890 is too large
1 localhost Blue|Blue: is no version; name blue or green
1 localhost red|red: is no version; name blue or green
2000 localhost --concurrency 1001|--concurrency: 1001 is too large
1 localhost --header host|--header: host is not NAME: VALUE
1 localhost --header host:|--header: host: is not NAME: VALUE
1 localhost --header @/etc/passwd|--header: @/etc/passwd is not NAME: VALUE
1 localhost --data @|--data:  cannot be read
1 localhost --data @/|--data: / cannot be read
1 localhost --data @/no/such/file|--data: /no/such/file cannot be read
TABLE
}

@test "help tells of every option" {
  load --help
  ended_with 0
  local told=0 option
  while read -r option; do
    [[ "$output" == *"  $option "* ]] || { echo "$option is missing"; return 1; }
    told=$((told + 1))
  done < <(sed -n 's/^      \(--[a-z0-9-]*\)) .*/\1/p' "$BATS_TEST_DIRNAME/../../charts/load_test.sh")
  [ "$told" -ge 11 ]
}

answered() {
  compgen -G "$TMPDIR/*/1.results" >/dev/null
}

@test "one that is ended leaves nothing behind" {
  export TMPDIR="$BATS_TEST_TMPDIR/scratch"
  mkdir "$TMPDIR"
  local signal expected script code
  while read -r signal expected; do
    # A shell cannot trap what whoever runs this ignores, as nohup does.
    env --default-signal=TERM,HUP "$BATS_TEST_DIRNAME/../../charts/load_test.sh" --quiet --pause 3 9 "$GATEWAY/score" 3>&- &
    script=$! code=0
    eventually answered
    kill -s "$signal" "$script"
    wait "$script" || code=$?
    [ "$code" -eq "$expected" ] && [ "$(ls "$TMPDIR")" = '' ] || { echo "$signal: $code"; ls "$TMPDIR"; return 1; }
  done <<'TABLE'
TERM 143
HUP 129
TABLE
}
