#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Look at the sources without running them.
#
#   scripts/lint.sh format       clang-format agrees with every C file
#   scripts/lint.sh tidy BUILD   clang-tidy has nothing to say; BUILD has compile_commands.json
#   scripts/lint.sh man          mandoc has nothing to say about the man pages
#
# Prints what is wrong; exit code 0 when nothing is.
set -euo pipefail
cd "$(dirname "$0")/.."

# list_sources PATTERN FOLDER...
list_sources() {
	local pattern=$1
	shift
	find "$@" -name "$pattern" | sort
}

check_format() {
	local bad=0 file
	while read -r file; do
		if ! diff -u --label "$file" --label "$file (clang-format)" "$file" \
			<(clang-format --style=file "$file"); then
			bad=1
		fi
	done < <(list_sources '*.[ch]' ring sync producer consumer tools tests perf docs)
	return $bad
}

# The library and the programs. Tests are left to the compilers: the analyzer cannot make out what
# Criterion's macros expand to.
check_tidy() {
	list_sources '*.c' ring sync producer consumer tools |
		xargs -P "$(nproc)" -n 4 clang-tidy -p "$1" --quiet 2>/dev/null
}

case "${1-}" in
format) check_format ;;
man) mandoc -T lint -W warning docs/man/*.[1-9] ;;
tidy) check_tidy "${2:?lint.sh tidy needs the build folder}" ;;
*)
	sed -n '4,10s/^# \{0,1\}//p' "$0"
	exit 2
	;;
esac
