#!/usr/bin/env bats
# `charts/kind`, as far as it goes without a container engine: what kind itself reads, before it asks for one. `KIND` names
# the program. The charts with these values are the business of the suites on a cluster.

bats_require_minimum_version 1.5.0

setup() {
  cd "$BATS_TEST_DIRNAME/../.." || return
}

# No engine is found, so no cluster is made where there is one.
created() {
  run env PATH=/nonexistent KIND_EXPERIMENTAL_PROVIDER=docker "$KIND" create cluster --config "$1"
  [ "$status" -ne 0 ]
}

@test "kind takes the cluster's configuration, and no misspelt one" {
  created charts/kind/cluster.yaml
  [[ "$output" == *'"docker": executable file not found'* ]] || { echo "$output"; return 1; }
  sed 's/hostPort/hostport/' charts/kind/cluster.yaml >"$BATS_TEST_TMPDIR/misspelt.yaml"
  created "$BATS_TEST_TMPDIR/misspelt.yaml"
  [[ "$output" == *'unable to decode config'*hostport* ]] || { echo "$output"; return 1; }
}

@test "what the cluster maps is what the chart opens" {
  run grep --only-matching --no-filename '\(nodePort\|containerPort\): [0-9]*' charts/kind/cluster.yaml charts/kind/values.yaml
  [ "${#lines[@]}" -eq 2 ] && [ "${lines[0]#*: }" = "${lines[1]#*: }" ] || { echo "$output"; return 1; }
}
