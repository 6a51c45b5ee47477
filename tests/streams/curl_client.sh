#!/bin/bash
# Reads a stream with curl, resuming by its last id; prints each number.
set -uo pipefail
url=$1 count=$2 last_id="" seen=0
while [ "$seen" -lt "$count" ]; do
  while IFS= read -r line; do
    case $line in
      "event: heartbeat") echo ready ;;
      "id: "*) next_id=${line#id: } ;;
      'data: {"topic"'*)
        number=${line##*\"n\":}
        echo "${number%%\}*}"
        seen=$((seen + 1))
        [ "$seen" -lt "$count" ] || exit 0
        ;;
      "") last_id=${next_id:-$last_id} next_id="" ;;  # an id counts from the end of its event
    esac
  done < <(curl -sN ${last_id:+-H "Last-Event-ID: $last_id"} "$url")
  sleep 0.3
done
