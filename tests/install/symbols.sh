#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# symbols.sh INCLUDE_DIR LIBRARY: libquoit.so exports exactly what the headers declare, a twin of
# every inline function among it, so that other languages can bind; and it needs only libc and liburcu.
set -euo pipefail
include=$1 library=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

complain() {
	echo "FAILED: $*"
	failed=1
}

# Names before an opening bracket (functions) or a semicolon (data) in QUOIT_API declarations, and
# of inline functions of the public kind, quoit_ with one underscore.
cat "$include"/quoit/*.h | tr '\n' ' ' >"$work/text"
{
	grep -oP 'QUOIT_API\s[^;({]*?\K\bquoit_\w+(?=\s*[(;])' "$work/text"
	grep -oP 'static inline [^;({]*?\K\bquoit_(?!_)\w+(?=\s*\()' "$work/text"
} | sort -u >"$work/declared"
# Type A is the version's own name.
nm -D --defined-only "$library" |
	awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u >"$work/exported"
diff -u --label declared --label exported "$work/declared" "$work/exported" ||
	complain "the headers' declarations and the library's exports differ"
(($(wc -l <"$work/declared") > 30)) || complain "hardly any declarations found"

readelf -d "$library" >"$work/dynamic"
needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' "$work/dynamic" |
	grep -v -e '^libc\.so' -e '^ld-linux' -e '^liburcu-bp\.so' || true)
[[ -z $needed ]] || complain "the library needs more than libc and liburcu: $needed"
soname=$(sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p' "$work/dynamic")
[[ $soname =~ ^libquoit\.so\.[0-9]+$ ]] || complain "soname is '$soname'"
echo "$(wc -l <"$work/exported") symbols, soname $soname"
exit $failed
