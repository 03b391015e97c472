#!/bin/sh
# Sends COUNT requests one after the other and says which model answered how many of them, and how fast. For people and
# for pipelines: it needs a POSIX shell, curl and awk, and its exit code tells whether all held. `--help` has the rest.
set -u

usage() {
  cat <<'HELP'
usage: load_test.sh [OPTION...] COUNT URL [blue|green]

Sends COUNT requests to URL, with the header `x-api-version` if a version is named. Each answer goes to standard output,
a line each; a summary goes to standard error.

  --data BODY            POST this body instead of a GET; @FILE takes a file's content
  --content-type TYPE    of that body [default: application/json]
  --header 'NAME: VALUE' send this header, too; repeatable
  --concurrency N        so many requests at the same time [default: 1]
  --pause SECONDS        between two requests, of each of the N [default: 0.2]
  --timeout SECONDS      what a request may take [default: 30]
  --quiet                do not print the answers
  --served-by NAME       the response header that names the model; where it is missing, the answer's text counts
                         [default: x-served-by-model]

  --expect TEXT          an answer without this text is wrong, and its request has failed
  --min-success PERCENT  of the requests have to succeed [default: 100]
  --max-p99 MS           99 % of the requests that succeeded may take at most so long, in milliseconds

A request succeeds if its status is 2xx and its answer is not wrong. One without a result has failed.

exit codes: 0 all held; 1 too few requests succeeded, or they took too long; 2 the command line is wrong, or something
is missing
HELP
}

refuse() {
  printf 'load_test.sh: %s\n' "$1" >&2
  printf 'Try load_test.sh --help.\n' >&2
  exit 2
}

# Whether $2, the value of $1, is a number, with a fraction or without.
number() {
  case "$2" in
    '' | *[!0-9.]* | *.*.* | .) refuse "$1: $2 is not a number" ;;
  esac
}

# Sets `counted` to $2, the value of $1, if it is a whole number above 0. With a zero before it the shell would take it for
# an octal one.
count() {
  counted=$2
  while :; do
    case $counted in
      0*) counted=${counted#0} ;;
      *) break ;;
    esac
  done
  case "$2" in
    '' | *[!0-9]*) refuse "$1: $2 is not a whole number" ;;
  esac
  [ -n "$counted" ] || refuse "$1: $2 is too small"
  [ ${#counted} -le 9 ] || refuse "$1: $2 is too large"
}

# A line of curl's own configuration, in which every value can be written. What `gsub` makes of backslashes differs from
# awk to awk.
setting() {
  NAME=$1 VALUE=$2 LC_ALL=C awk 'BEGIN {
    value = ENVIRON["VALUE"]
    for (i = 1; i <= length(value); i++) {
      letter = substr(value, i, 1)
      quoted = quoted (letter == "\n" ? "\\n" : letter ~ /[\\"]/ ? "\\" letter : letter)
    }
    print ENVIRON["NAME"] " = \"" quoted "\""
  }'
}

# The shell has no lists, so what may be repeated is gathered as lines. What is no header would be something else to curl,
# or nothing.
header() {
  case $1 in
    [!:@]*:*[!\ ]*) headers=$headers$(setting header "$1")$newline ;;
    *) refuse "--header: $1 is not NAME: VALUE" ;;
  esac
}

read_arguments() {
  requests='' url='' version='' data='' type=application/json headers='' concurrency=1 pause=0.2 timeout=30 quiet=no
  served_by=x-served-by-model expected='' min_success=100 max_p99='' has_data=no
  while [ $# -gt 0 ]; do
    option=$1
    shift
    case $option in
      --help | -h) usage; exit 0 ;;
      --quiet) quiet=yes; continue ;;
      --*=*) value=${option#*=}; option=${option%%=*} ;;
      --*) [ $# -gt 0 ] || refuse "$option: is unknown, or its value is missing"; value=$1; shift ;;
      *)
        if [ -z "$requests" ]; then count COUNT "$option"; requests=$counted
        elif [ -z "$url" ]; then url=$option
        elif [ -z "$version" ]; then version=$option
        else refuse "$option: there is one argument too many"
        fi
        continue ;;
    esac
    case $option in
      --data) data=$value has_data=yes ;;
      --content-type) type=$value ;;
      --header) header "$value" ;;
      --concurrency) count "$option" "$value"; concurrency=$counted ;;
      --pause) number "$option" "$value"; pause=$value ;;
      --timeout) number "$option" "$value"; timeout=$value ;;
      --served-by) served_by=$value ;;
      --expect) expected=$value ;;
      --min-success) number "$option" "$value"; min_success=$value ;;
      --max-p99) number "$option" "$value"; max_p99=$value ;;
      *) refuse "$option: there is no such option" ;;
    esac
  done
  [ -n "$url" ] || refuse 'COUNT and URL are needed'
  case $version in
    '' | blue | green) ;;
    *) refuse "$version: is no version; name blue or green" ;;
  esac
  if [ "$concurrency" -gt "$requests" ]; then concurrency=$requests; fi
  [ "$concurrency" -le 1000 ] || refuse "--concurrency: $concurrency is too large"
}

describe_request() {
  setting url "$url"
  setting max-time "$timeout"
  # What looks like a range in a URL is none.
  printf 'globoff\nsilent\nshow-error\n%s' "$headers"
  if [ -n "$version" ]; then setting header "x-api-version: $version"; fi
  if [ "$has_data" = yes ]; then
    setting data-binary "@$scratch/data"
    printf '%s' "$headers" | grep -qi '^header = "content-type:' || setting header "content-type: $type"
  fi
}

# Once, since a pipe has it no second time; and without it every request would be another one.
read_data() {
  case $data in
    @*) cat "${data#@}" || refuse "--data: ${data#@} cannot be read" ;;
    *) printf '%s' "$data" ;;
  esac
}

# What came of a request, in a line: how it failed or `ok`, its milliseconds, the model. From curl's exit code and its
# status and time, and from the files of the head and the body. What may have several lines is no text for `-v`.
judge() {
  EXPECTED=$expected SERVED_BY=$served_by ERROR=$4 LC_ALL=C awk -v code="$1" -v status="$2" -v seconds="$3" '
    # On one line, without what a terminal or the log of a pipeline takes for a command.
    function short(text) {
      gsub(/[\001-\037\177 ]+/, " ", text)
      gsub(/##+/, "#", text)
      gsub(/^ | $/, "", text)
      return substr(text, 1, 60)
    }
    FILENAME == ARGV[1] {
      at = index($0, ":")
      name = tolower(substr($0, 1, at - 1))
      value = substr($0, at + 1)
      sub(/^[ \t]+/, "", value)
      if (name == tolower(ENVIRON["SERVED_BY"])) model = short(value)
      if (name == "x-turnout-reason") reason = " " short(value)
      next
    }
    { body = body $0 "\n" }
    END {
      error = ENVIRON["ERROR"] == "" ? "curl ended with " code : ENVIRON["ERROR"]
      # How long that took is no reason of its own.
      sub(/ after [0-9]+ m(illi)?s(econds)?/, "", error)
      if (code != 0) verdict = short(error)
      else if (status !~ /^2/) verdict = "status " status reason
      else if (ENVIRON["EXPECTED"] != "" && !index(body, ENVIRON["EXPECTED"])) verdict = "wrong answer: " short(body)
      else verdict = "ok"
      if (model == "") model = short(body)
      if (model == "") model = "(an empty answer)"
      printf "%s\t%.3f\t%s\n", verdict, seconds * 1000, model
    }
  ' "$5" "$6"
}

# Sends $2 requests; $1 tells it from those beside it.
send() {
  own=$scratch/$1
  left=$2
  while [ "$left" -gt 0 ]; do
    : >"$own.head"
    : >"$own.body"
    seen=$(curl --config "$scratch/request" --dump-header "$own.head" --output "$own.body" \
      --write-out '%{http_code} %{time_total}' 2>"$own.error")
    code=$?
    if [ "$quiet" = no ]; then printf '%s\n' "$(cat "$own.body")"; fi
    judge "$code" "${seen%% *}" "${seen##* }" "$(cat "$own.error")" "$own.head" "$own.body" >>"$own.results"
    left=$((left - 1))
    if [ "$left" -gt 0 ]; then sleep "$pause"; fi
  done
}

send_all() {
  workers=''
  number=1
  while [ "$number" -le "$concurrency" ]; do
    share=$((requests / concurrency))
    if [ "$number" -le $((requests % concurrency)) ]; then share=$((share + 1)); fi
    send "$number" "$share" &
    workers="$workers $!"
    number=$((number + 1))
  done
  wait
}

# The summary; fails where something did not hold. A request has no result if what sent it was ended.
summarise() {
  cat "$scratch"/*.results | URL=$url VERSION=$version LC_ALL=C awk -F '\t' -v wanted="$requests" \
    -v min_success="$min_success" -v max_p99="$max_p99" '
    function sift(root, end,    child, held) {
      while ((child = 2 * root) <= end) {
        if (child < end && times[child] < times[child + 1]) child++
        if (times[root] >= times[child]) return
        held = times[root]; times[root] = times[child]; times[child] = held
        root = child
      }
    }
    function sort_times(    i, held) {
      for (i = int(ok / 2); i >= 1; i--) sift(i, ok)
      for (i = ok; i > 1; i--) {
        held = times[1]; times[1] = times[i]; times[i] = held
        sift(1, i - 1)
      }
    }
    # The smallest time that so many percent of the requests did not exceed.
    function quantile(percent,    rank) {
      rank = int((percent * ok + 99) / 100)
      return times[rank < 1 ? 1 : rank]
    }
    function complain(text) { print "check failed: " text; failed = 1 }
    # Beyond 20 different names whatever is new is one of the others. None is empty: that one counts the names.
    function tally(counts, names, name, many) {
      if (!(name in counts) && counts[""] >= 20) name = "others"
      if (!(name in counts)) names[++counts[""]] = name
      counts[name] += many
    }
    {
      seen++
      if ($1 != "ok") { tally(failures, reasons, $1, 1); next }
      times[++ok] = $2 + 0
      tally(hits, models, $3, 1)
    }
    END {
      all = wanted + 0
      if (seen < all) tally(failures, reasons, "no result", all - seen)
      success = 100 * ok / all
      version = ENVIRON["VERSION"] == "" ? "" : " with x-api-version: " ENVIRON["VERSION"]
      requests = all == 1 ? "request" : "requests"
      printf "%d %s to %s%s: ", all, requests, ENVIRON["URL"], version
      printf "%d succeeded (%.2f %%), %d failed\n", ok, success, all - ok
      for (i = 1; i <= hits[""]; i++) printf "  %6d  %5.1f %%  %s\n", hits[models[i]], 100 * hits[models[i]] / ok, models[i]
      for (i = 1; i <= failures[""]; i++) printf "  %6d  failed   %s\n", failures[reasons[i]], reasons[i]
      if (ok) {
        sort_times()
        printf "latency: p50 %.1f ms, p90 %.1f ms, p99 %.1f ms\n", quantile(50), quantile(90), quantile(99)
      }
      if (success < min_success) complain(sprintf("%.2f %% succeeded, and %s %% have to", success, min_success))
      if (max_p99 == "") exit failed
      if (!ok) complain("no request succeeded, so that there is no p99")
      else if (quantile(99) > max_p99) complain(sprintf("p99 is %.1f ms, and may be %s ms", quantile(99), max_p99))
      exit failed
    }
  ' >&2
}

# Shells start what runs beside them without an ear for Ctrl-C.
leave() {
  # shellcheck disable=SC2086 # A list of numbers.
  if [ -n "${workers:-}" ]; then kill $workers 2>/dev/null; fi
  exit "$1"
}

newline='
'
read_arguments "$@"
for program in curl awk; do
  command -v "$program" >/dev/null || refuse "there is no $program"
done
scratch=${TMPDIR:-/tmp}/load_test.$$
mkdir -m 700 "$scratch" || exit 2
trap 'rm -rf "$scratch"' EXIT
trap 'leave 129' HUP
trap 'leave 130' INT
trap 'leave 143' TERM
read_data >"$scratch/data"
describe_request >"$scratch/request"
send_all
summarise
