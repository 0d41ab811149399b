#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# symbols.sh INCLUDE_DIR LIBRARY: libquoit.so exports exactly what the headers declare, a twin of every
# inline function among it, so that other languages can bind; and it needs only libc.
set -euo pipefail
include=$1 library=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# Names before an opening bracket (functions) or a semicolon (data) in QUOIT_API declarations, and of
# inline functions of the public kind, quoit_ with one underscore.
cat "$include"/quoit/*.h | tr '\n' ' ' >"$work/text"
{
	grep -oP 'QUOIT_API\s[^;({]*?\K\bquoit_\w+(?=\s*[(;])' "$work/text"
	grep -oP 'static inline [^;({]*?\K\bquoit_(?!_)\w+(?=\s*\()' "$work/text"
} | sort -u >"$work/declared"
nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u >"$work/exported"

if ! diff -u --label declared --label exported "$work/declared" "$work/exported"; then
	echo "FAILED: the headers' declarations and the library's exports differ"
	failed=1
fi
[[ $(wc -l <"$work/declared") -gt 30 ]] || { echo "FAILED: hardly any declarations found"; failed=1; }

needed=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v -e '^libc\.so' -e '^ld-linux' || true)
if [[ -n $needed ]]; then
	echo "FAILED: the library needs more than libc: $needed"
	failed=1
fi
soname=$(readelf -d "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
if [[ ! $soname =~ ^libquoit\.so\.[0-9]+$ ]]; then
	echo "FAILED: soname is '$soname'"
	failed=1
fi
echo "$(wc -l <"$work/exported") symbols, soname $soname"
exit $failed
