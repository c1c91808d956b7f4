# The seed's command lines and IPC_NETWORK, as they are written there, on a host of their own (network and mounts), where
# example.com and pong.example.com are two more. Everything is made below $T, which the caller removes.
set -eu
cd "$T"
ip link set lo up
mount --bind "$T/hosts" /etc/hosts
unset IPC_NETWORK IPC_RUNDIR RUNDIR
PATH="$T/bin:$PATH"
started=
trap 'kill $started 2>/dev/null; wait' EXIT
trap 'exit 1' TERM INT

service() { # FOLDER NAME
    python3 "$LIBIPC" service zig "$1" "$2" >/dev/null &
    started="$started $!"
    appears "$1/$2"
}
appears() {
    for _ in $(seq 600); do [ -e "$1" ] && return; sleep 0.1; done
    echo "$1 never appeared"; cat "$T"/*.log; exit 1
}
# What a program of libipc's gets from SERVICE, with the folder of its host and its IPC_NETWORK.
ask() { python3 "$LIBIPC" client zig "$1" "$2" "$IPC_NETWORK" hello 2>/dev/null || echo refused; }
expect() { # WHAT WANTED GOT
    [ "$2" = "$3" ] && return
    echo "$1: $3 instead of $2"; cat "$T"/*.log; exit 1
}
files() { echo --ca "$T/ca" --certificate "$T/$1.crt" --key "$T/$1.key" --clients "$T/ca"; }

# Three hosts, each with a folder of its services.
RUNDIR=$T/example ipcd $(files example.com) --listen tcp:127.0.0.1:9000 2>example.log & started="$started $!"
RUNDIR=$T/pong ipcd $(files pong.example.com) --listen tls:127.0.0.2:9000 2>pong.log & started="$started $!"
appears "$T/example/ipc"; appears "$T/pong/ipc"
service "$T/example" pongd
service "$T/pong" pong

# with some static rules
mkdir typed; cd typed; touch src tests Makefile README.md
export RUNDIR="$T/ruled"
(
    alias ipcd="exec ipcd $(files ruled.example) --listen tls:127.0.0.3:9000"
    eval 'ipcd --allow in authd tls:example.com --deny in * * --allow out pong tls:pong.example.com:9000'
) 2>"$T/ruled.log" & started="$started $!"
appears "$T/ruled/ipc"
service "$T/ruled" authd; service "$T/ruled" otherd
grep -q "the shell put the names of files" "$T/ruled.log" || { echo "the star is not explained"; exit 1; }

IPC_NETWORK="pong tls://pong.example.com:9000/pong"; expect "out, allowed" HELLO "$(ask "$T/ruled" pong)"
IPC_NETWORK="pongd tcp://example.com:9000/pongd"; expect "out, not allowed" refused "$(ask "$T/ruled" pongd)"
expect "a service of this host" HELLO "$(ask "$T/ruled" otherd)"
IPC_NETWORK="authd tls://ruled.example:9000/authd"
expect "in, allowed" HELLO "$(ask "$T/example" authd)"
expect "in, from another" refused "$(ask "$T/pong" authd)"
IPC_NETWORK="otherd tls://ruled.example:9000/otherd"; expect "in, to another" refused "$(ask "$T/example" otherd)"

# redirections
export RUNDIR="$T/redirected"
ipcd --redirect authd nextversion-authd --keys "$T/keys" 2>"$T/redirected.log" & started="$started $!"
appears "$T/redirected/ipc"
service "$T/redirected" nextversion-authd
IPC_NETWORK="pongd tcp://example.com:9000/pongd"
expect "redirected" HELLO "$(ask "$T/redirected" authd)"
# Currently, the ipcd only works with tcp and unix routes.
expect "by tcp" HELLO "$(ask "$T/redirected" pongd)"

# For example, we want to connect to a distant authd service. A word is no key, and is not taken for one.
IPC_NETWORK="authd tls://user@passwd:example.com:9000/authd"
expect "a word for a key" refused "$(ask "$T/redirected" authd)"
grep -q "portolan psk create" "$T/redirected.log" || { echo "it is not said what a key is"; exit 1; }
key=$("$PORTOLAN" psk create user --file "$T/keys" --quiet && cut -d: -f2 "$T/keys")
RUNDIR=$T/keyed ipcd --keys "$T/keys" --listen tls:127.0.0.1:9001 2>"$T/keyed.log" & started="$started $!"
appears "$T/keyed/ipc"; service "$T/keyed" authd
IPC_NETWORK="authd tls://user@$key:example.com:9001/authd"
expect "by a key" HELLO "$(ask "$T/redirected" authd)"
IPC_NETWORK="authd tls://user@:example.com:9001/authd"
expect "by a key of the host's file" HELLO "$(ask "$T/redirected" authd)"
echo all of it
