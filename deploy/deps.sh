#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what pointsman is built from, on Debian and its relatives.  Everything comes from the distribution's packages, but
# for one thing: libfaiss-dev ships the headers of FAISS's C API and not its objects, so these are compiled here from the
# distribution's own source package of the same version.  Running it again changes nothing and takes no time.
set -euo pipefail
export LC_ALL=C

usage() {
        cat <<'END'
usage: deploy/deps.sh [--no-tests | --all] [--faiss=generic|avx2] [--prefix=DIR]

  --no-tests        only what is needed to build and to run, mock experts included
  --all             also what benchmarks need (wrk, haproxy, valgrind)
  --faiss=generic   FAISS as the distribution compiled it, with its C API added (the default)
  --faiss=avx2      compile all of FAISS for processors with AVX2 and FMA: some minutes once, IVF search about 3 times faster
  --prefix=DIR      where libfaiss_c.so and faiss_c.pc go (default: /usr/local); for another place set
                    PKG_CONFIG_PATH=DIR/lib/pkgconfig before running meson
  --help            this text

Needs apt-get, and root or sudo if something is missing.  A libfaiss_c that is there already is used as it is.
END
}

# The first name of an alternative (a|b) that is installed counts; else the first that the distribution has is installed.
build_packages=(
        build-essential meson ninja-build pkg-config 'libhttp-parser-dev|libllhttp-dev'
        libevent-dev libssl-dev libcurl4-openssl-dev libjansson-dev libyaml-dev libhiredis-dev
        libutf8proc-dev libpcre2-dev liblinear-dev zlib1g-dev libfaiss-dev libopenblas-dev coinor-libcbc-dev
        ca-certificates curl openssl
)
test_packages=(libcriterion-dev python3 python3-venv redis-server 'nginx|nginx-light' clang 'libclang-rt-dev|libclang-rt-14-dev' llvm)
extra_packages=(wrk haproxy valgrind)
# Only while the FAISS C API is compiled.
source_packages=(dpkg-dev xz-utils)

tests=yes extra=no faiss=generic prefix=/usr/local
for arg; do
        case $arg in
        --help | -h) usage; exit 0 ;;
        --no-tests) tests=no ;;
        --all) tests=yes extra=yes ;;
        --faiss=generic | --faiss=avx2) faiss=${arg#--faiss=} ;;
        --prefix=/*) prefix=${arg#--prefix=} prefix=${prefix%/} ;;
        *)
                echo "deps.sh: unknown argument '$arg' (--faiss is generic or avx2, --prefix an absolute path; see --help)" >&2
                exit 2
                ;;
        esac
done

say() { echo "deps.sh: $*"; }
fail() { echo "deps.sh: $*" >&2; exit 1; }

as_root() {
        if [[ $(id -u) == 0 ]]; then
                "$@"
        elif command -v sudo >/dev/null; then
                sudo "$@"
        else
                fail "this needs root, and there is no sudo: run this script as root"
        fi
}

apt() {
        as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C \
                apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@"
}

# Prints those of the wanted packages of which no alternative is installed.
missing_of() {
        local -A have=()
        local name state want one

        while read -r name state; do
                [[ $state == installed ]] && have[${name%%:*}]=1
        done < <(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $(tr '|' ' ' <<<"$*") 2>/dev/null || true)
        for want; do
                for one in ${want//|/ }; do
                        [[ ${have[$one]:-} ]] && continue 2
                done
                echo "$want"
        done
}

# Chooses for a|b|c the first one that the package lists know.
choose() {
        local one

        for one in ${1//|/ }; do
                if apt-cache show "$one" >/dev/null 2>&1; then
                        echo "$one"
                        return
                fi
        done
        fail "the package lists have none of: ${1//|/, }"
}

packages_install() {
        local missing chosen=() want

        mapfile -t missing < <(missing_of "$@")
        ((${#missing[@]})) || return 0
        say "missing: ${missing[*]}"
        apt update >/dev/null || fail "'apt-get update' failed"
        for want in "${missing[@]}"; do
                chosen+=("$(choose "$want")")
        done
        say "installing ${chosen[*]}"
        apt install --no-install-recommends "${chosen[@]}" >"$work/apt.log" 2>&1 || {
                tail -n 30 "$work/apt.log" >&2
                fail "'apt-get install ${chosen[*]}' failed"
        }
}

# Copies the system's lists to the directory $2 as deb-src, only the entries of the mirror $1 (all, if none matches).
source_lists() {
        local mirror=${1%/} dir=$2 f only

        for only in "$mirror" ""; do
                rm -f "$dir"/*
                for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
                        [[ -f $f ]] && awk -v uri="$only" '
                                $1 == "deb" && (uri == "" || index($0 "/", uri "/")) {
                                        sub(/^[ \t]*deb[ \t]+/, "deb-src ")
                                        sub(/arch=[^] \t]*/, "")
                                        sub(/\[[ \t]*\]/, "")
                                        print
                                }' "$f" >>"$dir/private.list"
                done
                for f in /etc/apt/sources.list.d/*.sources; do
                        [[ -f $f ]] && sed '/^#/d' "$f" | awk -v uri="$only" '
                                BEGIN { RS = ""; FS = "\n" }
                                tolower($0) ~ /(^|\n)enabled:[ \t]*(no|false)/ { next }
                                uri != "" && !index($0 "/", uri "/") && !index($0, uri "\n") && !index($0, uri " ") { next }
                                {
                                        for (i = 1; i <= NF; i++) {
                                                if (tolower($i) ~ /^types:/)
                                                        $i = "Types: deb-src"
                                                if (tolower($i) !~ /^architectures:/)
                                                        print $i
                                        }
                                        print ""
                                }' >>"$dir/private.sources"
                done
                find "$dir" -type f -empty -delete
                [[ -z $(ls "$dir") ]] || return 0
        done
        fail "found no package source in /etc/apt/sources.list or /etc/apt/sources.list.d"
}

# Fetches and unpacks the source package of the installed libfaiss-dev to $work/faiss.  The system's lists stay as they are.
faiss_source() {
        local source mirror own=0

        source=$(dpkg-query -W -f '${source:Package}=${source:Version}' libfaiss-dev)
        if [[ -z $(apt-cache madison libfaiss-dev) ]]; then
                apt update >/dev/null || fail "'apt-get update' failed"
        fi
        mirror=$(apt-cache madison libfaiss-dev | awk -F ' *[|] *' '!/Sources$/ { split($3, a, " "); print a[1]; exit }')
        say "fetching the source package $source from ${mirror:-the configured mirrors}"
        mkdir -p "$work"/{sources.d,lists/partial,cache/archives/partial,download}
        source_lists "$mirror" "$work/sources.d"
        if [[ $(id -u) == 0 ]] && id _apt >/dev/null 2>&1; then
                chown -R _apt "$work/lists" "$work/cache" "$work/download"
                own=1
        fi
        private_apt() {
                apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/sources.d" \
                        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o Acquire::Retries=3 "$@" \
                        >>"$work/source.log" 2>&1
        }
        if ! { cd "$work/download" && private_apt update && private_apt source --download-only --only-source "$source"; }; then
                tail -n 20 "$work/source.log" >&2
                fail "cannot fetch the source package $source (does the mirror carry sources?)"
        fi
        ((own == 0)) || chown -R 0 "$work/download"
        dpkg-source --no-check -x ./*.dsc "$work/faiss" >"$work/unpack.log" 2>&1 || {
                tail -n 20 "$work/unpack.log" >&2
                fail "cannot unpack $source"
        }
        cd /
}

# Builds $work/libfaiss_c.so: the C API and all of FAISS that it needs in one library that shows only faiss_* names.
faiss_compile() {
        local archive=-lfaiss flags="-O2 -g0 -std=c++17 -fPIC -fopenmp -fstack-protector-strong -D_FORTIFY_SOURCE=2"

        if [[ $faiss == avx2 ]]; then
                say "compiling FAISS for AVX2 (some minutes)"
                flags+=" -mavx2 -mfma -mf16c -mpopcnt"
                { cmake -S "$work/faiss" -B "$work/avx2" -G Ninja -DCMAKE_BUILD_TYPE=Release -DFAISS_OPT_LEVEL=avx2 \
                        -DFAISS_ENABLE_GPU=OFF -DFAISS_ENABLE_PYTHON=OFF -DFAISS_ENABLE_C_API=OFF -DBUILD_TESTING=OFF \
                        -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DBLA_VENDOR=OpenBLAS &&
                        ninja -C "$work/avx2" faiss_avx2; } >"$work/faiss.log" 2>&1 || {
                        tail -n 30 "$work/faiss.log" >&2
                        fail "FAISS did not compile"
                }
                archive=$work/avx2/faiss/libfaiss_avx2.a
        fi
        say "compiling the FAISS C API"
        mkdir -p "$work/objects"
        (
                cd "$work/faiss/c_api"
                printf '%s\n' ./*.cpp impl/*.cpp utils/*.cpp | xargs -P "$(nproc)" -I '{}' sh -c \
                        'c++ $1 -I.. -c "$2" -o "$3/$(basename "$2" .cpp).o"' sh "$flags" '{}' "$work/objects"
        ) >"$work/capi.log" 2>&1 && echo '{ global: faiss_*; local: *; };' >"$work/names" && c++ -shared -fopenmp -o "$work/libfaiss_c.so" -Wl,-soname,libfaiss_c.so \
                "$work"/objects/*.o -Wl,--version-script="$work/names" -Wl,--gc-sections -Wl,-z,defs -Wl,-z,relro,-z,now \
                "$archive" -lopenblas -s >>"$work/capi.log" 2>&1 || {
                tail -n 30 "$work/capi.log" >&2
                fail "the FAISS C API did not compile"
        }
}

# Writes faiss_c.pc: $1 is the linker's part, $2 what it was made from.
faiss_describe() {
        cat >"$work/faiss_c.pc" <<END
prefix=$prefix
libdir=\${prefix}/lib
flavour=$faiss
made_from=$2

Name: faiss_c
Description: C API of FAISS, similarity search over vectors
URL: https://github.com/facebookresearch/faiss
Version: $(sed -n 's/^#define FAISS_VERSION_\(MAJOR\|MINOR\|PATCH\) //p' /usr/include/faiss/Index.h | paste -sd.)
Libs: $1
Cflags:
END
}

# A program that builds an IVF index by the factory, fills and searches it.
faiss_try() {
        cat >"$work/try.c" <<'END'
#include <stdio.h>
#include <stdlib.h>

#include <faiss/c_api/AutoTune_c.h>
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/error_c.h>
#include <faiss/c_api/index_factory_c.h>

enum { D = 16, N = 4096, K = 3 };

int main(void)
{
        static float x[N * D];
        float distance[K];
        idx_t label[K];
        FaissIndex *index = NULL;

        for (int i = 0; i < N * D; i++)
                x[i] = (float)((i * 7919L + (long)i * i % 104729) % 1000) / 1000;
        if (faiss_index_factory(&index, D, "IVF16,Flat", METRIC_L2) || faiss_Index_train(index, N, x) ||
            faiss_Index_add(index, N, x) || faiss_Index_search(index, 1, x + 100 * D, K, distance, label)) {
                fprintf(stderr, "%s\n", faiss_get_last_error());
                return 1;
        }
        faiss_Index_free(index);
        return !(label[0] == 100 && distance[0] < 1e-6f);
}
END
        cc -o "$work/try" "$work/try.c" "$@" >"$work/try.log" 2>&1 && "$work/try" >>"$work/try.log" 2>&1
}

# Is there a faiss_c that will do?  One of ours must fit the installed headers; anybody else's is trusted.
faiss_present() {
        local from lib

        pkg-config --exists faiss_c || return 1
        from=$(pkg-config --variable=made_from faiss_c)
        case $from in
        "") return 0 ;;
        found) faiss_try $(pkg-config --cflags --libs faiss_c) ;;
        *)
                lib=$(pkg-config --variable=libdir faiss_c)/libfaiss_c.so
                [[ -e $lib && $from == "$(dpkg-query -W -f '${source:Package} ${source:Version}' libfaiss-dev)" ]] || return 1
                [[ $faiss == generic || $(pkg-config --variable=flavour faiss_c) == "$faiss" ]]
                ;;
        esac
}

faiss_install() {
        local run=as_root parent=$prefix

        while [[ ! -e $parent ]]; do parent=$(dirname "$parent"); done
        [[ -w $parent && (! -e $prefix/lib || -w $prefix/lib) ]] && run=
        $run mkdir -p "$prefix/lib/pkgconfig"
        [[ ! -f $work/libfaiss_c.so ]] || $run install -m 644 "$work/libfaiss_c.so" "$prefix/lib/libfaiss_c.so"
        $run install -m 644 "$work/faiss_c.pc" "$prefix/lib/pkgconfig/faiss_c.pc"
        [[ $prefix != /usr && $prefix != /usr/local ]] || as_root ldconfig
}

faiss_setup() {
        local search="-L\${libdir}" flags

        export PKG_CONFIG_PATH=$prefix/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
        if faiss_present; then
                return
        fi
        if [[ $faiss == generic && ! -e $prefix/lib/libfaiss_c.so ]] && faiss_try -lfaiss_c; then
                say "using the libfaiss_c that is installed"
                faiss_describe -lfaiss_c found
                faiss_install
                return
        fi
        if [[ $faiss == avx2 ]] && ! grep -q '^flags.* avx2' /proc/cpuinfo; then
                fail "this processor has no AVX2: use --faiss=generic"
        fi
        packages_install "${source_packages[@]}" $([[ $faiss == generic ]] || echo cmake)
        faiss_source
        faiss_compile
        # Other places than the system's own are not searched at run time unless the program says so.
        [[ $prefix == /usr || $prefix == /usr/local ]] || search+=" -Wl,-rpath,\${libdir}"
        faiss_describe "$search -lfaiss_c" "$(dpkg-query -W -f '${source:Package} ${source:Version}' libfaiss-dev)"
        faiss_install
        flags=$(pkg-config --cflags --libs faiss_c)
        faiss_try $flags || {
                cat "$work/try.log" >&2
                fail "the FAISS C API was built, but a program that searches an IVF index with it ($flags) fails"
        }
        say "installed $prefix/lib/libfaiss_c.so ($faiss)"
}

command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
        fail "no apt-get here: install the equivalents of ${build_packages[*]} and FAISS with its C API by hand"
work=$(mktemp -d "${TMPDIR:-/tmp}/pointsman-deps.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

wanted=("${build_packages[@]}")
[[ $tests == no ]] || wanted+=("${test_packages[@]}")
[[ $extra == no ]] || wanted+=("${extra_packages[@]}")
packages_install "${wanted[@]}"
faiss_setup
say "everything is there"
