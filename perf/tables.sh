#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The results of `quoit-perf all` as Markdown tables, for docs/PERFORMANCE.md.
#
#   tables.sh RESULTS.jsonl              on standard output
#   tables.sh --into FILE RESULTS.jsonl  replace all below the line "## Results" of FILE
#
# Medians, the best mode of each system. Needs jq.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
into=
if [ "${1:-}" = --into ] && [ $# -eq 3 ]; then
	into=$2
	shift 2
fi
if [ $# -ne 1 ] || [ ! -s "$1" ]; then
	echo "Usage: tables.sh [--into FILE] RESULTS.jsonl" >&2
	exit 2
fi
results=$1
if [ -n "$into" ]; then
	grep -qx '## Results' "$into" || {
		echo "tables.sh: $into: no line \"## Results\" in it" >&2
		exit 1
	}
	new=$(mktemp)
	trap 'rm -f "$new"' EXIT
	sed '/^## Results$/q' "$into" >"$new"
	{
		printf '\n%s %s\n\n' 'Made by `perf/tables.sh --into docs/PERFORMANCE.md' \
			'report/results.jsonl`; the charts are in `report/index.html`.'
		"$0" "$results"
	} >>"$new"
	cat "$new" >"$into"
	exit 0
fi
command -v jq >/dev/null || {
	echo "tables.sh: jq is missing; run scripts/perf-setup.sh" >&2
	exit 1
}

# pivot TITLE FILTER COLUMN BETTER [ROW]: a row for each system (or ROW), a column for each value of COLUMN,
# which is an array: what to sort by, and last the heading. BETTER, min or max, chooses among several.
pivot() {
	jq -rs --arg title "$1" "
		def short: if . >= 1000 then round elif . >= 100 then (. * 10 | round / 10)
			elif . >= 1 then (. * 100 | round / 100) else (. * 10000 | round / 10000) end;
		[.[] | select(.median != null and .cdf == null and .unit != \"ratio\") | select($2)
			| {row: (${5:-.system}), value: .median, column: ($3)}]
		| if length == 0 then empty else . end
		| (map(.column) | unique) as \$columns
		| \"**\" + \$title + \"**\n\",
		  \"| | \" + (\$columns | map(last | tostring) | join(\" | \")) + \" |\",
		  \"|---|\" + (\$columns | map(\"---|\") | join(\"\")),
		  (group_by(.row)[] | . as \$rows
			| \"| \" + .[0].row + \" | \" + (\$columns | map(. as \$c
				| [\$rows[] | select(.column == \$c) | .value]
				| if length == 0 then \"\" else ($4 | short | tostring) end) | join(\" | \")) + \" |\"),
		  \"\"" "$results"
}

# A run that was interrupted leaves half a line.
measured=$(date -u -r "$results" '+%Y-%m-%d')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
grep -v '"cdf":' "$results" | jq -cR 'fromjson? // empty' >"$work/results.jsonl"
results=$work/results.jsonl

order='[(.stat as $s | ["typical", "p50", "p90", "p99", "p99.9", "p99.99", "max"] | index($s)), .stat]'
placements=$(jq -r 'select(.placement) | .placement' "$results" | sort -ru)

# What was measured, where and when; and what was aimed at.
echo "$( (lscpu 2>/dev/null || true) | sed -n 's/^Model name: *//p' | head -1), $(nproc) processors," \
	"$(uname -sr), $measured. All medians; a system's better mode and way to" \
	"wait, each its own. Up to $(jq -s 'map(.rounds // 0) | max' "$results") rounds."
echo
jq -rs '[.[] | select(.canary_ns) | {placement, canary_ns}] | group_by(.placement)[]
	| "Canary, \(.[0].placement): median \(map(.canary_ns) | sort | .[length / 2 | floor]) ns one way."' \
	"$results"
echo
echo "**Targets: the worst cell of each**"
echo
echo "| what | target | placement | figure | | where |"
echo "|---|---|---|---|---|---|"
jq -rs -f "$here/targets.jq" "$results" | awk -F'\t' '{
	print "| " $1 " | " $2 " | " $3 " | " $4 " | " $5 " | " $6 " |" }'
echo
for p in $placements; do
	for kind in spsc mpmc; do
		for batch in 1 32; do
			pivot "Throughput, $kind, batch $batch, $p: million records/s" \
				".bench == \"throughput\" and .kind == \"$kind\" and .batch == $batch and
				 .placement == \"$p\"" '[.size, .depth, "\(.size) B x\(.depth)"]' max
		done
		pivot "Round trip, $kind, 8 B, $p: ns" ".bench == \"latency\" and .placement == \"$p\" and
			((.kind == \"$kind\" and .size == 8) or .system == \"line\")" "$order" min
	done
	for rate in $(jq -r 'select(.bench == "openloop" and .rate) | .rate' "$results" | sort -gu); do
		pivot "Open loop, $rate records/s, $p: ns" ".bench == \"openloop\" and .rate == $rate and
			.placement == \"$p\"" "$order" min
	done
	for batch in 1 32; do
		pivot "Oversubscribed, 8 B, batch $batch, $p: million records/s" \
			".bench == \"oversubscribe\" and .batch == $batch and .placement == \"$p\"" \
			'[.producers, "\(.producers)P\(.consumers)C"]' max
	done
	pivot "Sizes, through 1 MiB, $p: GB/s" ".bench == \"sizes\" and .unit == \"GB/s\" and
		.placement == \"$p\" and .size * .depth <= 1048576" '[.size, .size]' max
	pivot "Sizes, through 16 MiB, $p: GB/s" ".bench == \"sizes\" and .unit == \"GB/s\" and
		.placement == \"$p\" and .size * .depth > 1048576" '[.size, .size]' max
	pivot "Kernel mechanisms, $p: million records/s" ".bench == \"kernel\" and .unit == \"M/s\" and
		.placement == \"$p\"" '[.size, "\(.size) B"]' max
	pivot "Kernel mechanisms, round trip of 64 B, $p: ns" ".bench == \"kernel-echo\" and .size == 64 and
		.placement == \"$p\"" "$order" min
	pivot "Hand-over there and back, $p: ns" ".bench == \"kernel-handover\" and .placement == \"$p\"" \
		"$order" min
	for what in busy idle wake; do
		pivot "Waits, $what, $p" ".bench == \"waits-$what\" and .placement == \"$p\"" \
			"[($order)[0], ((.stat // \"\") + \" \" + .unit)]" max \
			'(.kind + " " + .system + " " + .policy)'
	done
	pivot "Life cycle, $p: us" "(.bench | startswith(\"lifecycle\")) and .placement == \"$p\"" \
		'[.mode, .size, .mode + (if .size then " \(.size / 1048576) MiB" else "" end)]' min .stat
	pivot "Endpoints, 64 B, $p: million records/s" ".bench == \"scale\" and .placement == \"$p\"" \
		'[.mode, .producers, .consumers, "\(.mode) \(.producers)P\(.consumers)C"]' max
done
