#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# tables.sh BUILD: does scripts/crash.sh run a table, sum it up, put it into a file, and fail when a
# row has failed, is not there, or a program does not run?
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
crash=$here/../../scripts/crash.sh
build=${1:?usage: tables.sh BUILD}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# expect CODE TEXT ARG...: crash.sh ends with this code, and says this.
expect() {
	local want=$1 text=$2 got=0
	shift 2
	"$crash" --out "$work/rows" "$@" >"$work/log" 2>&1 || got=$?
	if ((got != want)) || ! grep -qE -e "$text" "$work/log"; then
		echo "crash.sh $*: exit code $got, not $want, or it does not say \"$text\":"
		cat "$work/log"
		failed=1
	fi
}

same() {
	cmp -s "$1" "$2" || {
		echo "$3:"
		diff "$1" "$2"
		failed=1
	}
}

expect 2 'no table nothing' --build "$build" nothing
expect 2 'there are no rows' --sum hot

printf '%s\n' before '<!-- crash hot -->' old '<!-- /crash hot -->' after >"$work/page"
one=(--quick --build "$build" --into "$work/page" hot -- --op commit --backend memfd)
expect 0 '^[0-9]+ kills in 8 rows, 0 failed$' "${one[@]}"
{
	printf '%s\n' before '<!-- crash hot -->' ''
	sed -n '/^`scripts/,/^| commit | mpmc/p' "$work/log"
	printf '%s\n' '' '<!-- /crash hot -->' after
} >"$work/wanted"
same "$work/wanted" "$work/page" "the table is not where it ought to be"
kills=0
while read -r n; do
	kills=$((kills + n))
done < <(sed -n 's/^ok .* mpmc .* kills *\([0-9]*\) .*/\1/p' "$work/rows/hot.rows")
line="commit \| mpmc \| empty, half, wrap, lent, large \| memfd \| [0-9]+ \| $kills \| 0 \| 0 \| 0"
grep -qE "^\| $line \|\$" "$work/page" || {
	echo "its figures are not those of the rows"
	failed=1
}
cp "$work/page" "$work/wanted"
expect 0 '^[0-9]+ kills in 8 rows, 0 failed$' --sum --into "$work/page" hot
same "$work/wanted" "$work/page" "the second time it is not the same"
echo "no marks" >"$work/page"
expect 2 'no line <!-- crash hot -->' --sum --into "$work/page" hot

cp "$work/rows/hot.rows" "$work/good"
sed -i '0,/^ok  /s//FAILED/' "$work/rows/hot.rows"
expect 1 '^[0-9]+ kills in 8 rows, 1 failed$' --sum hot
sed '0,/^ok  /{/^ok  /d}' "$work/good" >"$work/rows/hot.rows"
expect 1 '^FAILED .*: not reported$' --sum hot
sed 's/^# exit 0/# exit 139/' "$work/good" >"$work/rows/hot.rows"
expect 1 'exit code 139$' --sum hot

# A program that does not get anywhere.
mkdir -p "$work/broken/tests/bin"
printf '#!/bin/sh\necho broken; exit 3\n' >"$work/broken/tests/bin/crash_step"
chmod +x "$work/broken/tests/bin/crash_step"
expect 1 '^0 kills in 0 rows, 1 failed$' --build "$work/broken" hot
expect 1 'nothing was killed' --build "$build" hot -- --op none
exit $failed
