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

# What the tables' filters share.
read -r -d '' shared <<'JQ' || true
def short: if . >= 1000 then round elif . >= 100 then (. * 10 | round / 10)
	elif . >= 1 then (. * 100 | round / 100) elif . >= 0.001 then (. * 10000 | round / 10000)
	else (. * 10000000 | round / 10000000) end;
def figures: map(select(.median != null and .cdf == null and .unit != "ratio"));
# A system, with what one has to know about it.
def who: .system + (if .between == "threads" then " (threads)" else "" end)
	+ (if .out_of_order then " (loses order)" else "" end);
# Bytes, as one says them.
def bytes: if . >= 1048576 then "\(. / 1048576) MiB" elif . >= 16384 then "\(. / 1024) KiB" else "\(.) B" end;
def rank: .stat as $s | ["typical", "p50", "p90", "p99", "p99.9", "p99.99", "max"] | index($s);
# Of each system the mode and way to wait that is the best by the first figure, with all its figures.
def its_best: group_by(.system) | map(group_by([.mode, .policy])
	| min_by(map(select(.stat == "typical"))[0].median)) | add // [];
JQ

# pivot TITLE FILTER COLUMN BETTER [ROW [ROWS]]: a row for each system (or ROW), a column for each value of
# COLUMN. These are arrays: what to sort by, and last the heading. BETTER, min or max, chooses among several.
# ROWS: what to do to all rows first.
pivot() {
	jq -rs --arg title "$1" "$shared
		figures | map(select($2)) | ${6:-.}
		| map({row: (${5:-[who]}), value: .median, column: ($3)})
		| if length == 0 then empty else . end
		| (map(.column) | unique) as \$columns
		| \"**\" + \$title + \"**\\n\",
		  \"| | \" + (\$columns | map(last | tostring) | join(\" | \")) + \" |\",
		  \"|---|\" + (\$columns | map(\"---|\") | join(\"\")),
		  (group_by(.row)[] | . as \$rows
			| \"| \" + (.[0].row | last | tostring) + \" | \" + (\$columns | map(. as \$c
				| [\$rows[] | select(.column == \$c) | .value]
				| if length == 0 then \"\" else ($4 | short | tostring) end) | join(\" | \")) + \" |\"),
		  \"\"" "$results"
}

# latencies TITLE FILTER: percentiles, each system in its better mode.
latencies() {
	pivot "$1" "$2" '[rank, .stat]' min '[who]' its_best
}

# A run that was interrupted leaves half a line.
measured=$(date -u -r "$results" '+%Y-%m-%d')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
grep -v '"cdf":' "$results" | jq -cR 'fromjson? // empty' >"$work/results.jsonl"
results=$work/results.jsonl

placements=$(jq -r 'select(.placement) | .placement' "$results" | sort -ru)

# What was measured, where and when.
heading() {
	echo "$( (lscpu 2>/dev/null || true) | sed -n 's/^Model name: *//p' | head -1), $(nproc --all) processors," \
		"$(uname -sr), $measured. All medians; a system's better mode and way to wait, each its own." \
		"Up to $(jq -s 'map(.rounds // 0) | max' "$results") rounds in one placement," \
		"$(jq -rs 'map(.seconds // empty) | "intervals of \(min) to \(max) s."' "$results")"
	echo
	jq -rs '[.[] | select(.canary_ns) | {placement, canary_ns}] | group_by(.placement)[]
		| "Canary, \(.[0].placement): median \(map(.canary_ns) | sort | .[length / 2 | floor]) ns one way,"
		+ " in \(length) figures."' "$results"
	echo
	if jq -es 'any(.[]; .error)' "$results" >/dev/null; then
		jq -r 'select(.error) | "Not measured: \(.bench), \(.system) \(.policy // ""), \(.size // 0) B: \(.error)."' \
			"$results"
		echo
	fi
}

# And what was aimed at.
targets() {
	echo "**Targets: the worst cell of each**"
	echo
	echo "| what | target | placement | figure | | cells that meet it | worst |"
	echo "|---|---|---|---|---|---|---|"
	jq -rs -f "$here/targets.jq" "$results" | awk -F'\t' '{
		print "| " $1 " | " $2 " | " $3 " | " $4 " | " $5 " | " $7 " | " $6 " |" }'
	echo
}

limits_tables() {
	local p=$1

	pivot "Limits: a cache line there and back, $p: ns" ".bench == \"limits\" and .system == \"line\" and
		.placement == \"$p\"" '[rank, .stat]' min '["line, " + .policy]'
	pivot "Limits: raw stream, by grain and memory it goes round in, $p: GB/s" ".bench == \"limits\" and
		.system == \"stream\" and .unit == \"GB/s\" and .placement == \"$p\"" \
		'[.size * .depth, "through " + (.size * .depth | bytes)]' max \
		'[.size, .mode, "\(.size | bytes), " + (if .mode == "inplace" then "in place" else "copied twice" end)]'
	pivot "Limits: memcpy on one processor, $p: GB/s" ".bench == \"limits\" and .system == \"memcpy\" and
		.placement == \"$p\"" '[.size, (.size / 2 | bytes)]' max
	pivot "Limits: single operations, $p: ns" ".bench == \"limits\" and .mode == \"once\" and
		.placement == \"$p\"" '[.unit]' min
}

throughput_tables() {
	local p=$1 kind batch

	for kind in spsc mpmc; do
		for batch in 1 32; do
			pivot "Throughput, $kind, batch $batch, $p: million records/s" \
				".bench == \"throughput\" and .kind == \"$kind\" and .batch == $batch and
				 .placement == \"$p\"" '[.size, .depth, "\(.size) B x\(.depth)"]' max
		done
	done
	for batch in 1 32; do
		pivot "Oversubscribed, 8 B, batch $batch, $p: million records/s" \
			".bench == \"oversubscribe\" and .batch == $batch and .placement == \"$p\"" \
			'[.producers, "\(.producers)P\(.consumers)C"]' max
	done
	pivot "Endpoints of one ring, 64 B, $p: million records/s" ".bench == \"scale\" and
		.placement == \"$p\" and (.mode | test(\":\"))" \
		'[(.mode | {"n:n": 0, "n:1": 1, "1:n": 2}[.]), .mode]' max \
		'[([.producers, .consumers] | max), "n = \([.producers, .consumers] | max)"]'
	pivot "Processors, 64 B, $p: million records/s" ".bench == \"scale\" and
		.placement == \"$p\" and (.mode | test(\":\") | not)" \
		'[(.mode | tonumber? // split(" ")[0] | tonumber), .mode]' max \
		'[who + ", \(.producers)P\(.consumers)C"]'
}

latency_tables() {
	local p=$1 kind rate

	for kind in spsc mpmc; do
		for size in 8 64; do
			latencies "Round trip, $kind, $size B, $p: ns" ".bench == \"latency\" and .placement == \"$p\"
				and ((.kind == \"$kind\" and .size == $size) or .system == \"line\")"
		done
	done
	for rate in $(jq -r 'select(.bench == "openloop" and .rate) | .rate' "$results" | sort -gu); do
		latencies "Open loop, $rate records/s, $p: ns" ".bench == \"openloop\" and .rate == $rate and
			.placement == \"$p\""
	done
}

size_tables() {
	local p=$1 mib

	for mib in 1 16; do
		pivot "Sizes, through $mib MiB, $p: GB/s" ".bench == \"sizes\" and .unit == \"GB/s\" and
			.placement == \"$p\" and .size * .depth <= $mib * 1048576 and
			.size * .depth > $mib * 65536" '[.size, (.size | bytes)]' max \
			'[who + (if .mode == "inplace" then ", in place" else ", copying" end)]'
	done
	pivot "Heap, four records in flight, $p: GB/s" ".bench == \"heap\" and .unit == \"GB/s\" and
		.placement == \"$p\"" '[.size, (.size | bytes)]' max \
		'[.kind + " " + who + ", " + ({inplace: "in place in the ring", copy: "copying through the ring",
			heap: "in the heap", "heap-copy": "copying through the heap"}[.mode] // .mode)]' \
		'map(if .system == "stream" then .mode = {inplace: "in place", copy: "copying"}[.mode] else . end)'
}

kernel_tables() {
	local p=$1

	pivot "Kernel mechanisms, $p: million records/s" ".bench == \"kernel\" and .unit == \"M/s\" and
		.placement == \"$p\"" '[.size, "\(.size) B"]' max
	for size in 64 4096; do
		latencies "Kernel mechanisms, round trip of $size B, $p: ns" ".bench == \"kernel-echo\" and
			.size == $size and .placement == \"$p\""
	done
	latencies "Hand-over there and back, $p: ns" ".bench == \"kernel-handover\" and .placement == \"$p\""
}

other_tables() {
	local p=$1 what

	for what in busy idle wake; do
		pivot "Waits, $what, $p" ".bench == \"waits-$what\" and .placement == \"$p\"" \
			'[rank, (if .stat == null then 0 else 1 end), ((.stat // "") + " " + .unit)]' max \
			'[if .system == "quoit" then .kind + " quoit " + .policy else "bare " + .system end]'
	done
	pivot "One reader of many rings, $p" ".bench == \"pollset\" and .placement == \"$p\"" \
		'(.stat as $s | ["idle", "one", "all", "asleep"] | index($s)) as $n
			| [$n, ["a poll in vain, ns", "a record, one ring busy, ns",
				"a record, all busy, ns", "asleep, % cpu"][$n]]' min \
		'.depth as $n | [$n, .mode, "\($n) ring\(if $n > 1 then "s" else "" end), \(.mode)"]'
	pivot "Life cycle, $p: us" ".bench == \"lifecycle\" and .placement == \"$p\"" \
		'(.stat | endswith("-p99")) as $tail
			| [.mode, .size, $tail, "\(.mode) \(.size | bytes), \(if $tail then "p99" else "p50" end)"]' min \
		'(.stat | sub("-p99$"; "")) as $step
			| [(["create", "attach", "open", "close", "detach", "remove"] | index($step)), $step]'
	pivot "A killed producer, p50 and worst of the kills of an interval, $p: us" \
		".bench == \"lifecycle-kill\" and .placement == \"$p\"" \
		'(.stat | endswith("-max")) as $worst
			| [.mode, $worst, "\(.mode), \(if $worst then "worst" else "p50" end)"]' min \
		'[.stat | sub("-max$"; "")]'
}

heading
targets
for p in $placements; do
	throughput_tables "$p"
	latency_tables "$p"
	size_tables "$p"
	kernel_tables "$p"
	other_tables "$p"
	limits_tables "$p"
done
