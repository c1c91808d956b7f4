#!/bin/sh
# run.sh N [FOLDER]: makes certificates and configurations for N nodes (1 to 7) and runs them on this host.
#
# Lines typed here are proposals of the first node; what it prints is the agreed order: place, node, line. Ctrl-C or
# the end of input stops them all. The folder (default ./px-nodes) keeps certificates, order, and what the others
# print.
set -eu
n=${1:?usage: run.sh N [FOLDER]}
folder=${2:-px-nodes}
here=$(cd "$(dirname "$0")" && pwd)
portolan=${PORTOLAN_BIN:-portolan}

names=
for i in $(seq "$n"); do names="$names px$i.example"; done
# shellcheck disable=SC2086
"$here/certificates.sh" "$folder" $names

for i in $(seq "$n"); do
    servers=
    for j in $(seq "$n"); do
        [ "$i" = "$j" ] || servers="$servers${servers:+,
    }{ \"addr\": \"127.0.0.1:$((5200 + j))\", \"server_name\": \"px$j.example\" }"
    done
    cat >"$folder/px$i.json" <<EOF
{
  "me": {
    "id": "px$i.example",
    "addr": "127.0.0.1:$((5200 + i))",
    "tls_config_info": {
      "cert_path": "$folder/px$i.example.pem",
      "key_path": "$folder/px$i.example.key",
      "ca_cert_path": "$folder/ca.pem"
    }
  },
  "retry_delay": 200, // ms, doubles with each try up to 30 s
  "servers": [
    $servers
  ]
}
EOF
done

pids=
stop() {
    trap - EXIT INT TERM
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill $pids 2>/dev/null || true
    wait
}
trap stop EXIT
trap 'exit 130' INT TERM

for i in $(seq 2 "$n"); do
    "$portolan" serve --px "$folder/px$i.json" --data-dir "$folder" --log-level warn \
        </dev/null >"$folder/px$i.out" &
    pids="$pids $!"
done
rm -f "$folder/px1.in"
mkfifo "$folder/px1.in"
"$portolan" serve --px "$folder/px1.json" --data-dir "$folder" --log-level warn <"$folder/px1.in" &
pids="$pids $!"
exec 3>"$folder/px1.in"
echo "$n nodes run; the first prints here, the others into $folder/px*.out" >&2
cat >&3
