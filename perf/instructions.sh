#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Instructions per operation of each hot path, counted by callgrind: the one figure of performance that
# does not depend on the machine's mood.
#
#   instructions.sh [--check] [QUOIT-PERF]
#
# Without --check it writes instructions.txt beside this script; with it, it compares: more than 3 % apart
# from what is written there, either way, is a failure. QUOIT-PERF is the program, default
# build/bin/quoit-perf. The figures hold for one compiler: the file names it, and --check compares only
# if it is the same.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
check=0
if [ "${1:-}" = --check ]; then
	check=1
	shift
fi
program=${1:-$here/../build/bin/quoit-perf}
file=$here/instructions.txt
operations=4096 # 64 rounds of 64 records, as in instructions.c

fail() {
	echo "instructions.sh: $*" >&2
	exit 1
}
command -v valgrind >/dev/null || fail "valgrind is missing; run scripts/perf-setup.sh"
[ -x "$program" ] || fail "$program: not built"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What it was compiled with: the library's compiler signs its objects.
compiler=$(readelf -p .comment "$(ldd "$program" | awk '/libquoit/ { print $3 }')" |
	sed -n 's/^ *\[[^]]*\] *//p' | sort -u | paste -sd';')

for kind in spsc mpmc; do
	valgrind --tool=callgrind --callgrind-out-file="$work/$kind.out" \
		"$program" --kind $kind instructions >"$work/log" 2>&1 || {
		cat "$work/log" >&2
		fail "quoit-perf failed under callgrind"
	}
	callgrind_annotate --inclusive=yes --threshold=100 "$work/$kind.out" |
		sed -n 's/^ *\([0-9,]*\) .*:perf_count_\([a-z_]*\) .*/\1 \2/p' | tr -d , |
		awk -v n=$operations -v kind=$kind '{ printf "%s %s %.2f\n", kind, $2, $1 / n }' |
		sort -u >>"$work/counts"
done
[ "$(wc -l <"$work/counts")" -eq 12 ] || fail "callgrind found not all of the twelve paths"

if [ $check -eq 0 ]; then
	{
		echo "# Instructions per record of 64 bytes, by callgrind; made by perf/instructions.sh."
		echo "# $compiler"
		cat "$work/counts"
	} >"$file"
	cat "$file"
	exit 0
fi

[ -s "$file" ] || fail "$file: nothing to compare with; run instructions.sh first"
if [ "$(sed -n 2p "$file")" != "# $compiler" ]; then
	echo "instructions.sh: made by $compiler, the file by another compiler: not compared"
	cat "$work/counts"
	exit 77
fi
# compare WAS IS: a line for each path; fails if one is new or apart.
compare() {
	awk 'FNR == NR { if ($1 !~ /^#/) was[$1 " " $2] = $3; next }
		{
			path = $1 " " $2
			if (!(path in was)) { print "new: " path; bad = 1; next }
			change = ($3 / was[path] - 1) * 100
			word = change > 3 || change < -3 ? "CHANGED" : "ok"
			bad = bad || word == "CHANGED"
			printf "%-8s %-22s %8.2f was %8.2f (%+.1f %%)\n", word, path, $3, was[path], change
		}
		END { exit bad }' "$1" "$2"
}

# The comparison must notice one path of the twelve that is 4 % dearer or cheaper, and a new one.
for change in 1.04 0.96; do
	awk -v by=$change 'NR == 7 { $3 *= by } { print }' "$work/counts" >"$work/doctored"
	! compare "$work/counts" "$work/doctored" >/dev/null || fail "the comparison misses a change"
done
sed 's/mpmc send /mpmc sent /' "$work/counts" >"$work/doctored"
! compare "$work/counts" "$work/doctored" >/dev/null || fail "the comparison misses a new path"

compare "$file" "$work/counts" ||
	fail "apart by more than 3 %; if it is meant, run instructions.sh and commit the file"
