#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the example as a stranger would: from a copy, against the header and the pkg-config file of an installation, with nothing
# else of the tree; then lets it decide two prompts.
#     check.sh BUILD_FOLDER PM_TRY
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$1
try=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

meson install -C "$build" --no-rebuild --quiet --tags devel --destdir "$work/root" > "$work/install.log" 2>&1 || {
        cat "$work/install.log" >&2
        exit 1
}
pc=$(find "$work/root" -name pointsman-router.pc)
test -n "$pc" || { echo "pointsman-router.pc was not installed" >&2; exit 1; }
cp "$here/cheapest.c" "$here/Makefile" "$work"
PKG_CONFIG_PATH=$(dirname "$pc") PKG_CONFIG_SYSROOT_DIR=$work/root make -s -C "$work" CFLAGS='-O2 -Wall -Wextra -Werror'

printf 'short prompt\n%s\n' "$(head -c 4000 /dev/zero | tr '\0' x)" |
        "$try" "$work/cheapest.so" -o answer=10 --experts a,b - > "$work/out" 2> "$work/err" || {
        cat "$work/err" >&2
        exit 1
}
test "$(grep -c '"end":"decided","expert":"a"' "$work/out")" -eq 2 || {
        cat "$work/out" >&2
        exit 1
}
