#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# By hand, as root: does a clone build and run on a bare Debian?  Makes one with debootstrap (minbase) in a temporary folder, clones
# this repository's HEAD into it, and runs the quickstart and the tests there.  Mounts and processes live in namespaces of their own and
# end with this script; the network is the machine's, so the quickstart's ports must be free.
set -euo pipefail

usage() {
        cat <<'END'
usage: tests/debootstrap.sh [--suite=bookworm] [--keep] [COMMAND...]

  --suite=NAME   the Debian release
  --keep         leave the root in place and say where it is
  COMMAND        what to run in the clone, each a shell command with its own time
                 (preset: 'deploy/quickstart.sh --once' and 'deploy/test.sh')

The system's package mirror, apt settings, certificates, name servers and pip settings are carried over.  Packages: debootstrap, git.
END
}

suite=bookworm keep=no commands=()
for arg; do
        case $arg in
        --help | -h) usage; exit 0 ;;
        --suite=?*) suite=${arg#--suite=} ;;
        --keep) keep=yes ;;
        -*) echo "debootstrap.sh: unknown argument '$arg' (see --help)" >&2; exit 2 ;;
        *) commands+=("$arg") ;;
        esac
done
((${#commands[@]})) || commands=('deploy/quickstart.sh --once' 'deploy/test.sh')

fail() { echo "debootstrap.sh: $*" >&2; exit 1; }

[[ $(id -u) == 0 ]] || fail "needs root (debootstrap, chroot and mounts)"
for tool in debootstrap git unshare; do
        command -v "$tool" >/dev/null || fail "needs the program $tool"
done
if [[ ${POINTSMAN_UNSHARED:-} != yes ]]; then
        export POINTSMAN_UNSHARED=yes
        exec unshare --mount --propagation private --pid --fork --kill-child "$0" "$@"
fi

repository=$(cd "$(dirname "$0")/.." && pwd)
root=$(mktemp -d "${TMPDIR:-/tmp}/pointsman-root.XXXXXX")
chmod 755 "$root" # other users live in it too
finish() {
        local status=$?

        cd /
        umount -R "$root/dev" "$root/sys" "$root/proc" 2>/dev/null || true
        if [[ $keep == yes ]]; then
                echo "the root is $root"
        else
                rm -rf --one-file-system "$root"
        fi
        exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# The URI of the machine's own mirror for the release, from lists of either form.
mirror=$(apt-get indextargets --format '$(RELEASE) $(SITE)' 'Created-By: Packages' 2>/dev/null |
        awk -v suite="$suite" '$1 == suite && /debian/ { print $2; exit }')
mirror=${mirror:-http://deb.debian.org/debian}

began=$SECONDS
echo "== debootstrap $suite from $mirror"
debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$root.log" 2>&1 || {
        tail -n 20 "$root.log" >&2
        fail "debootstrap failed"
}
rm -f "$root.log"

cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -L /etc/hosts "$root/etc/hosts"
cp -r /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
for f in /etc/apt/apt.conf /etc/pip.conf; do
        [[ ! -f $f ]] || cp "$f" "$root$f"
done
for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        if [[ -f $f ]] && grep -q '/debian' "$f"; then
                rm -f "$root/etc/apt/sources.list"
                cp "$f" "$root$f"
        fi
done
mkdir -p "$root/root/.config" "$root/usr/local/share"
[[ ! -d $HOME/.config/pip ]] || cp -r "$HOME/.config/pip" "$root/root/.config/"
[[ ! -d /usr/local/share/ca-certificates ]] || cp -rL /usr/local/share/ca-certificates "$root/usr/local/share/"
# No service begins because its package was installed.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"

mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
git clone -q --no-local "$repository" "$root/src"
echo "   $(git -C "$root/src" log -1 --format='%h %s'); $((SECONDS - began)) s"

carried=()
while IFS= read -r -d '' pair; do
        case ${pair,,} in
        pip_find_links=*) ;; # folders of this machine
        http_proxy=* | https_proxy=* | no_proxy=* | pip_*=* | port=*) carried+=("$pair") ;;
        esac
done < <(env -0)

status=0
for command in "${commands[@]}"; do
        began=$SECONDS
        echo "== $command"
        chroot "$root" env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin CI=true \
                ${carried[@]+"${carried[@]}"} bash -c "cd /src && $command" </dev/null || status=$?
        echo "== $command: status $status, $((SECONDS - began)) s"
        ((status == 0)) || break
done
exit "$status"
