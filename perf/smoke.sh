#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Does quoit-perf work? Every benchmark runs once with tiny settings, with what needs nothing from outside;
# its JSON must parse and have its fields; nonsense on the command line must be refused. What is measured
# does not matter, so no canary is asked: --near takes any.
#
#   smoke.sh QUOIT-PERF
set -euo pipefail

program=${1:?smoke.sh needs quoit-perf}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

complain() {
	echo "smoke.sh: $*" >&2
	failed=1
}

# A row of figures: unit, min, median, max, rounds. Others: the distribution of one, or peers.
check_rows() {
	if ! command -v jq >/dev/null; then
		! grep -vE '^\{"schema":1,"bench":"[a-z-]+","system":"[^"]+".*("rounds":[1-9][0-9]*.*|"cdf":\[\[.*\]\]|"verified":[1-9][0-9]*,"failed":0)\}$' "$1"
		return
	fi
	jq -es 'length > 0 and all(.[]; .schema == 1 and (.bench | type) == "string"
		and (.system | type) == "string" and .error == null and (
			(.bench == "peers" and .verified > 0 and .failed == 0 and .between != null)
			or (.cdf != null and (.cdf | length) > 0 and .cdf[-1][1] == 1 and .total > 0)
			or ((.unit | type) == "string" and .rounds >= 1 and .min <= .median
				and .median <= .max and (.placement == "near" or .placement == "far"))))' \
		"$1" >/dev/null
}

# run BENCH OPTIONS...
run() {
	local bench=$1

	shift
	if ! "$program" --rounds 1 --seconds 0.004 --near 1000000 --json "$@" "$bench" \
		>"$work/rows" 2>"$work/log"; then
		cat "$work/log" >&2
		complain "$bench: failed"
	elif ! check_rows "$work/rows"; then
		complain "$bench: rows are not as they should be, for example $(head -1 "$work/rows")"
	elif ! grep -q '"system":"quoit"' "$work/rows" && [ "$bench" != limits ]; then
		complain "$bench: nothing of quoit"
	fi
}

few=(--systems quoit,mutex-ring,line,stream)
run limits --size 4096 "${few[@]}"
run throughput --size 8 --depth 64 --batch 1,32 "${few[@]}"
run latency --size 8 --depth 64 "${few[@]}"
run openloop --rate 10000 --depth 64 "${few[@]}"
run oversubscribe --depth 64 --batch 1 "${few[@]}"
run waits --depth 64 --kind spsc
run sizes --size 64,65536 "${few[@]}"
run heap --size 16384,65536 --kind spsc --systems quoit,quoit-heap,stream
for size in 16384 65536; do
	grep '"mode":"heap"' "$work/rows" | grep -q "\"size\":$size[,}]" || complain "heap: nothing of $size bytes"
done
run lifecycle
run pollset
run scale --depth 64 --endpoints 2
run kernel --size 64 --depth 64
run peers --systems quoit,mutex-ring,line,stream,pipe,futex
grep -q '"bench":"peers","system":"line"' "$work/rows" || complain "peers: the line is missing"

# A plan measures nothing, and says how long it would take.
"$program" --plan --minutes 25 all >"$work/rows" 2>"$work/log" || complain "no plan"
awk '$1 == "together" && $2 > 20 && $2 < 26 { found = 1 } END { exit !found }' "$work/rows" ||
	complain "25 minutes are planned as $(tail -1 "$work/rows")"

# The check itself must be able to fail.
printf '{"schema":1,"bench":"limits","system":"line","unit":"ns"}\n' >"$work/rows"
! check_rows "$work/rows" || complain "a row without figures passed"

# refused WHAT OPTIONS...
refused() {
	local what=$1 code=0

	shift
	"$program" "$@" >/dev/null 2>"$work/log" || code=$?
	[ $code -eq 2 ] || complain "$what: exit code $code, not 2"
	[ -s "$work/log" ] || complain "$what: refused without a word"
}
refused "no command"
refused "two commands" limits latency
refused "an unknown command" nonsense
refused "an unknown option" --nonsense limits
refused "no rounds" --rounds 0 limits
refused "seconds that are no number" --seconds soon limits
refused "a size that is no multiple of 8" --size 12 throughput
refused "an empty list" --depth "" throughput
refused "a list that ends early" --batch 1, throughput
refused "an unknown kind" --kind mpsc throughput
refused "an unknown system" --systems nonsense throughput
refused "a processor that is not there" --cpus 100000 throughput
refused "a processor twice" --cpus 0,0 throughput
refused "too many endpoints" --endpoints 1000 scale
refused "a plan for what has none" --plan peers

[ $failed -eq 0 ] && echo "smoke.sh: every benchmark works"
exit $failed
