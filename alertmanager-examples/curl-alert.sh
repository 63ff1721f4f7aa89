#!/bin/sh
# Tells originswitch that an alert of a site fires, or is resolved: for those
# who have no Alertmanager, and for trying things out. It prints the answer.
#
#   curl-alert.sh SITE firing|resolved
#
# ORIGINSWITCH_URL                  where it listens; http://127.0.0.1:10053
# ORIGINSWITCH_WEBHOOK_TOKEN_FILE   the token, if /webhook asks for one
#
# Exit code: 0 taken, 1 not taken, 2 wrong arguments.

# Letters are those of ASCII, whatever the language of the machine.
LC_ALL=C

fail() {
  code=$1
  shift
  printf 'curl-alert.sh: %s\n' "$*" >&2
  exit "$code"
}

[ $# -eq 2 ] || fail 2 "give a site and a status: curl-alert.sh SITE firing|resolved"
site=$1
status=$2
url=${ORIGINSWITCH_URL:-http://127.0.0.1:10053}
file=${ORIGINSWITCH_WEBHOOK_TOKEN_FILE:-}

case $site in
'' | *[!A-Za-z0-9._-]*) fail 2 "\"$site\" is no name for a site: give the name or a hostname of one" ;;
esac
case $status in
firing | resolved) ;;
*) fail 2 "\"$status\" is no status of an alert: give firing or resolved" ;;
esac

header=
if [ -n "$file" ]; then
  token=$(cat -- "$file" 2>/dev/null) || fail 2 "cannot read $file: correct ORIGINSWITCH_WEBHOOK_TOKEN_FILE, or leave it out if /webhook asks for no token"
  header="Authorization: Bearer $token"
fi
body='{"version":"4","alerts":[{"status":"'$status'","labels":{"alertname":"OriginDown","site":"'$site'"}}]}'

# The token goes in by standard input: arguments are seen by everybody on the machine.
answer=$(printf '%s\n' "$header" | curl -sS --max-time 10 -H @- -H 'Content-Type: application/json' --data "$body" "${url%/}/webhook") || fail 1 "$url cannot be reached: is originswitch running there?"

printf '%s\n' "$answer"
case $answer in
*'"accepted":[]'*) fail 1 "no site is called $site, and none has that hostname" ;;
*'"accepted":['*) ;;
*) fail 1 "the alert was not taken" ;;
esac
