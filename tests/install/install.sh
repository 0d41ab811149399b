#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# install.sh BUILD CC: install what is built to a temporary prefix, move it, and build a small
# program against it from outside the tree, by find_package and by pkg-config, shared and static.
set -euo pipefail
build=$1 cc=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
	echo "install.sh: $*" >&2
	exit 1
}
# expect PROGRAM: it runs and says what it should.
expect() {
	local said
	said=$("$@") || fail "$* failed"
	[[ $said == "thrown, libquoit "* ]] || fail "$* said: $said"
	echo "ok: ${*: -1}: $said"
}

# Installed elsewhere than configured, then moved: nothing may depend on where it was.
cmake --install "$build" --prefix "$work/first" >/dev/null || fail "cmake --install failed"
mv "$work/first" "$work/moved"
prefix=$work/moved
libdir=$(dirname "$(find "$prefix" -name libquoit.so)")

for file in include/quoit/quoit.h include/quoit/inspect.h bin/quoit bin/quoit-produce \
	bin/quoit-consume; do
	[[ -e $prefix/$file ]] || fail "$file is not installed"
done
for page in "$here"/../../docs/man/*.[1357]; do
	[[ -e $prefix/share/man/man${page##*.}/${page##*/} ]] || fail "${page##*/} is not installed"
done
"$prefix/bin/quoit" --version >/dev/null || fail "the installed quoit does not run"

cmake -S "$here/project" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
	>"$work/cmake.log" 2>&1 || fail "find_package(quoit): $(cat "$work/cmake.log")"
cmake --build "$work/cmake" >"$work/cmake.log" 2>&1 || fail "$(cat "$work/cmake.log")"
expect "$work/cmake/with_shared"
expect "$work/cmake/with_static"
if ldd "$work/cmake/with_static" | grep libquoit; then
	fail "quoit::quoit_static gave the shared library"
fi

export PKG_CONFIG_PATH=$libdir/pkgconfig
version=$(pkg-config --modversion quoit) || fail "pkg-config does not know quoit"
# shellcheck disable=SC2046 # pkg-config's words
"$cc" -std=c11 "$here/project/main.c" -o "$work/pc_shared" $(pkg-config --cflags --libs quoit)
expect env LD_LIBRARY_PATH="$libdir" "$work/pc_shared"
# shellcheck disable=SC2046
"$cc" -std=c11 -static "$here/project/main.c" -o "$work/pc_static" \
	$(pkg-config --static --cflags --libs quoit)
expect "$work/pc_static"
[[ $("$work/pc_static") == *" $version" ]] || fail "quoit.pc says $version, the library does not"

# Programs without jemalloc are told nothing of it, and can do all the same; with it small records
# of a heap share units. A linker may drop what the program itself does not refer to.
[[ $(pkg-config --static --libs quoit) != *jemalloc* ]] || fail "quoit.pc brings a malloc along"
export LD_LIBRARY_PATH=$libdir
for jemalloc in "" "-Wl,--no-as-needed -ljemalloc"; do
	# shellcheck disable=SC2046,SC2086
	"$cc" -std=c11 "$here/project/heap.c" -o "$work/heap" $(pkg-config --cflags --libs quoit) $jemalloc
	said=$("$work/heap") || fail "heap ${jemalloc:-without jemalloc}: $said"
	echo "ok: heap ${jemalloc:-without jemalloc}: $said records"
	if [[ -z $jemalloc ]]; then
		((said == 16)) || fail "16 units take 16 records, not $said"
	else
		((said > 250)) || fail "jemalloc is not used: $said records"
	fi
done
