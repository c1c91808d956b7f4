#!/bin/sh
# certificates.sh FOLDER NAME...: a private root, and a certificate of it for each name.
#
# What a node's certificate needs: the node's name as a DNS name (subjectAltName), version 3, and if it limits its use
# at all (extendedKeyUsage), then both to serverAuth and to clientAuth: every node is both. Other tools will do.
set -eu
[ $# -ge 2 ] || { echo "usage: certificates.sh FOLDER NAME..." >&2; exit 2; }
folder=$1
shift
umask 077
mkdir -p "$folder"
cd "$folder"
curve="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
if [ ! -e ca.pem ]; then
    # shellcheck disable=SC2086
    openssl req -x509 $curve -keyout ca.key -out ca.pem -days 3650 -subj "/CN=px root" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
fi
for name in "$@"; do
    [ ! -e "$name.pem" ] || continue
    printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=critical,digitalSignature\n' \
        "$name" >"$name.ext"
    # shellcheck disable=SC2086
    openssl req -new $curve -keyout "$name.key" -out "$name.csr" -subj "/CN=$name" 2>/dev/null
    openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 \
        -extfile "$name.ext" -out "$name.pem" 2>/dev/null
    rm -f "$name.csr" "$name.ext"
done
