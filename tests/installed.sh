#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is installed finds its routers and its libraries from the place where it stands, with no help from the environment.
#     installed.sh BUILD_FOLDER PREFIX
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset LD_LIBRARY_PATH

fail() {
        echo "$1" >&2
        exit 1
}

meson install -C "$1" --no-rebuild --quiet --destdir "$work/root" > "$work/install.log" 2>&1 || fail "$(cat "$work/install.log")"
at=$work/root$2
"$at/bin/pointsman" check -c "$source/configs/category.yaml" > "$work/out" || fail "the installed pointsman does not open its routers"
"$at/bin/pointsman-train" --version > "$work/out" || fail "the installed pointsman-train does not find its libraries"

# Where the others look is what was installed.
routers=$work/root$(PKG_CONFIG_PATH=$(dirname "$(find "$work/root" -name pointsman-router.pc)") \
        pkg-config --variable=plugindir pointsman-router)
test -f "$routers/category.so" || fail "pkg-config's plugindir ($routers) does not have the routers"
grep -qF "$2/lib/pointsman/routers" "$at/bin/pm-try" || fail "pm-try does not look in $2/lib/pointsman/routers"
