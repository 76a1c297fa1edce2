#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# configs/README.md is what `pointsman describe` says of the configuration and of the shipped routers.
#     reference.sh POINTSMAN README ROUTER.so...            is it?
#     reference.sh --write POINTSMAN README ROUTER.so...    make it so
set -eu
write=
[ "$1" != --write ] || { write=1; shift; }
program=$1 page=$2
shift 2
new=$(mktemp)
trap 'rm -f "$new"' EXIT
{
        printf '# Configuration\n\nWritten by `tests/reference.sh --write`, from the tables that read the file: do not edit.\n\n'
        "$program" describe
        for router in "$@"; do
                printf '\n'
                "$program" describe "$router"
        done
} >"$new"
if [ -n "$write" ]; then
        cp "$new" "$page"
else
        diff -u "$page" "$new" >&2 || { echo "configs/README.md is not what the program says" >&2; exit 1; }
fi
