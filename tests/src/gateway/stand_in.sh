#!/bin/sh
# Stands in for turnout-proxy where the test bed tests itself. With `--stand-in-status ADDRESS` it says that it listens
# there and stays; without, it refuses to start.
while [ $# -gt 0 ]; do
  case "$1" in
    --addresses-file) file=$2 ;;
    --stand-in-status) status=$2 ;;
  esac
  shift
done
if [ -z "$status" ]; then
  echo "nowhere to listen" >&2
  exit 3
fi
echo "listening"
listener="{\"gateway_port\": 80, \"address\": \"127.0.0.1:1\"}"
echo "{\"listeners\": [$listener], \"status\": \"$status\", \"admin\": \"$status\"}" > "$file"
exec sleep 600
