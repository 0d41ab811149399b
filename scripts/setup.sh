#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Install what is missing, and only that: nothing is fetched when all is there.
#
#   scripts/setup.sh          what building and the demo need
#   scripts/setup.sh --tests  what the tests need too: second compiler, sanitizers, checkers
#
# For Debian 12 and its relatives. Works as root, or as a user who may use sudo.
set -euo pipefail

build=(gcc libc6-dev make cmake pkg-config liburcu-dev libjemalloc-dev libjansson-dev
	coreutils util-linux procps tar)
tests=(g++ clang clang-format clang-tidy libclang-rt-14-dev libcriterion-dev
	spin strace mandoc binutils valgrind)

case "${1-}" in
"") wanted=("${build[@]}") ;;
--tests) wanted=("${build[@]}" "${tests[@]}") ;;
-h | --help)
	sed -n '4,9s/^# \{0,1\}//p' "$0"
	exit 0
	;;
*)
	echo "setup.sh: unknown option $1 (see --help)" >&2
	exit 2
	;;
esac

if ! command -v dpkg-query >/dev/null; then
	echo "setup.sh: no dpkg here, so nothing was installed. Please see to these (Debian's names):" >&2
	echo "  ${wanted[*]}" >&2
	exit 0
fi

installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p')
missing=()
for package in "${wanted[@]}"; do
	grep -qxF "$package" <<<"$installed" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
	exit 0
fi

echo "setup: installing ${missing[*]}"
as_root=()
if ((EUID != 0)); then
	if ! command -v sudo >/dev/null; then
		echo "setup.sh: not root and no sudo; as root run: apt-get install ${missing[*]}" >&2
		exit 1
	fi
	as_root=(sudo)
fi
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A stale index is the usual reason for a failed install, so it is refreshed first.
if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } \
	>"$log" 2>&1; then
	cat "$log" >&2
	echo "setup.sh: could not install: ${missing[*]}" >&2
	exit 1
fi
