#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Makes one HTML page with inline SVG charts out of the results of `quoit-perf all`.
#
#   report.sh FOLDER     reads FOLDER/results.jsonl, writes FOLDER/index.html
#
# Needs jq and gnuplot (scripts/perf-setup.sh). Near and far are never drawn into one chart.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
usage() {
	echo "Usage: report.sh FOLDER    (with results.jsonl in it)" >&2
	exit 2
}
[ $# -eq 1 ] || usage
folder=$1
results=$folder/results.jsonl
[ -s "$results" ] || {
	echo "report.sh: $results: no results there; run quoit-perf --output $folder all" >&2
	exit 1
}
for tool in jq gnuplot; do
	command -v $tool >/dev/null || {
		echo "report.sh: $tool is missing; run scripts/perf-setup.sh" >&2
		exit 1
	}
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
page=$work/index.html
# A run that was interrupted leaves half a line.
measured=$(date -u -r "$results" '+%Y-%m-%d %H:%M UTC')
jq -cR 'fromjson? // empty' "$results" >"$work/results.jsonl"
results=$work/results.jsonl
# Distributions are most of it, and few charts want them.
figures=$work/figures.jsonl
grep -v '"cdf":' "$results" >"$figures" || true

# ---- the page ------------------------------------------------------------------------------------

escape() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g'; }

head_of_page() {
	cat <<-'HTML'
		<!DOCTYPE html>
		<html lang="en"><head><meta charset="utf-8"><title>quoit: performance</title>
		<style>
		body { font: 16px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }
		table { border-collapse: collapse; font-size: 13px; margin: 1em 0 }
		td, th { border-bottom: 1px solid #ddd; padding: 2px 10px; text-align: right }
		td:nth-child(-n+4), th:nth-child(-n+4) { text-align: left }
		tr.own td { background: #fff4d6 } svg { max-width: 100%; height: auto }
		figure { margin: 1.5em 0 2.5em } figcaption { color: #444; margin-top: .3em }
		.worse { color: #b00020 } .better { color: #00662a } summary { cursor: pointer }
		</style></head><body>
		<h1>quoit: performance</h1>
		<p>quoit moves records between processes through a ring in shared memory. This page compares it with
		the limits of the machine it ran on, with the kernel's own mechanisms and with other libraries, all
		measured in one run.</p>
		<h2>How to read it</h2>
		<ul>
		<li><b>Near and far.</b> On a virtual machine two processors may sit on one core complex or on two, and
		that changes under the measurement. A <i>canary</i>, a cache line thrown to and fro, runs before and
		after every interval and tells which it was. Results of the two are never mixed.</li>
		<li><b>Rounds.</b> All systems of a chart were measured in turn, again and again in rotated order.
		A figure is the median of the rounds; tables have the smallest and the largest beside it.</li>
		<li><b>Ratios</b> are taken round by round between neighbours in time. Above 1, quoit is the better.</li>
		<li><b>Waiting.</b> Each system waits in the way that suits it best; the tables name it. "tight" tries
		again at once, "pause" with one pause instruction, "block" is the system's own blocking call, "spin"
		and "futex" are quoit's.</li>
		<li>Every record was checked: sequence, and one word of every cache line.</li>
		</ul>
	HTML
	echo "<p>Machine: $( (lscpu 2>/dev/null || true) | sed -n 's/^Model name: *//p' | head -1 | escape)," \
		"$(nproc --all) processors, $(uname -sr | escape), $measured." \
		"Canary: $(jq -rs '[.[] | select(.canary_ns) | {p: .placement, c: .canary_ns}] | group_by(.p)
			| map("\(.[0].p) \([.[].c] | sort | .[length / 2 | floor]) ns") | join(", ")' "$figures")" \
		"one way (medians). Intervals of" \
		"$(jq -rs 'map(.seconds // empty) | "\(min) to \(max) s, up to"' "$figures")" \
		"$(jq -s 'map(.rounds // 0) | max' "$figures") rounds in one placement.</p>"
}

# rows FILTER: the results that are not ratios, distributions or errors, and pass the jq filter.
rows() {
	jq -c "select(.error == null and .unit != \"ratio\" and .median != null)
		| select($1)" "$figures"
}

placement_list=$(jq -r 'select(.placement) | .placement' "$figures" | sort -ru)
placements() { echo "$placement_list"; }

# ---- charts --------------------------------------------------------------------------------------

# figure CAPTION: gnuplot commands on stdin; the picture goes into the page, what it shows below it.
figure() {
	local picture=$work/picture.svg

	{
		echo "set terminal svg size 960,${height:-480} noenhanced font 'sans-serif,13' \
			background '#ffffff'"
		echo "set output '$picture'"
		echo "set grid lc rgb '#dddddd'; set border 3; set tics nomirror"
		printf "set datafile separator '%s'\n" '\t'
		cat
	} | gnuplot
	{
		echo "<figure>"
		sed -n '/<svg/,$p' "$picture"
		echo "<figcaption>$1</figcaption></figure>"
	} >>"$page"
}

# blocks FILE: from lines "series x y" to gnuplot's blocks, one a series, its name at the head.
blocks() {
	sort -t$'\t' -k1,1 -k2,2g | awk -F'\t' -v OFS='\t' '
		$1 != last { if (NR > 1) print "\n"; print "\"" $1 "\""; last = $1 }
		{ print $2, $3 }' >"$1"
}

# lines TITLE XLABEL YLABEL EXTRA CAPTION: a line for each series; "series x y" on stdin. Ours are thicker.
lines() {
	local data=$work/lines.tsv series plot="" style i=0

	blocks "$data"
	while IFS= read -r series; do
		series=${series//\"/}
		case $series in
		"quoit in place"*) style="lw 4 lc rgb '#e08a00'" ;;
		quoit | "quoit futex" | "quoit spin") style="lw 4 lc rgb '#b3420a'" ;;
		quoit*) style="lw 4" ;;
		line* | stream*) style="lw 2 dt 2 lc rgb '#000000'" ;;
		# There are eight colours: the next eight series are dashed, with another mark.
		*) style="lw 1.5 dt $((i / 8 + 1))" ;;
		esac
		plot+="${plot:+, }'$data' index $i using 1:2"
		plot+=" with ${marks:-linespoints pt $((7 - i / 8 * 2)) ps 0.5} $style"
		plot+=" title '$series'"
		i=$((i + 1))
	done < <(grep '^"' "$data" || true)
	[ $i -gt 0 ] || return 0
	height=$((i > 16 ? 100 + 22 * i : 480)) figure "$5" <<-GNUPLOT
		set title "$1"; set xlabel "$2"; set ylabel "$3"
		set key outside right vertical; set format x "%.0s%c"
		$4
		plot $plot
	GNUPLOT
}

# bars TITLE XLABEL CAPTION: a horizontal bar for each "label value" on stdin, in that order from below.
bars() {
	local data=$work/bars.tsv low

	cat >"$data"
	[ -s "$data" ] || return 0
	low=$(awk -F'\t' '$2 > 0 && (m == "" || $2 < m) { m = $2 } END { print m ? m / 3 : 1e-6 }' "$data")
	height=$((120 + 24 * $(wc -l <"$data"))) figure "$3" <<-GNUPLOT
		set title "$1"; set xlabel "$2"; set logscale x; unset key; set style fill solid 0.8
		set lmargin 34; set yrange [-1:$(wc -l <"$data")]; set xrange [$low:*]; set format x "%g"
		colour(label) = strstrt(label, "quoit") ? 0xcc6600 : 0x4477aa
		plot '$data' using 2:0:($low):2:(\$0-0.4):(\$0+0.4):(colour(strcol(1))):ytic(1) \
			with boxxyerror lc rgb variable
	GNUPLOT
}

section() { printf '<h2>%s</h2>\n<p>%s</p>\n' "$1" "$2" >>"$page"; }

# What a row is called in a chart.
name='(.system + (if .mode == "inplace" then " in place" else "" end))'

where() { # near or far, in words
	case $1 in
	near) echo "processors near each other" ;;
	*) echo "processors far from each other" ;;
	esac
}

throughput_charts() {
	local placement kind batch

	section "Throughput by size" "One producer and one consumer; rings hold 1,024 records."
	for placement in $(placements); do
		for kind in spsc mpmc; do
			for batch in 1 32; do
				rows ".bench == \"throughput\" and .depth == 1024 and .kind == \"$kind\" and
					.batch == $batch and .placement == \"$placement\"" |
					jq -r "[$name, .size, .median] | @tsv" |
					lines "$kind rings, $(calls_of "$batch"), $placement" "bytes a record" \
						"million records/s" "set logscale xy" \
						"Records a second against their size, $(calls_of "$batch"), through rings for
						$(sides_of $kind); $(where "$placement"). Higher is better."
			done
		done
	done
	section "From 8 bytes to a megabyte" "How many bytes pass, copying (the caller's buffer to the caller's
		buffer) and in place (written and read where they lie)."
	for placement in $(placements); do
		for limit in 1048576 16777216; do
			rows ".bench == \"sizes\" and .unit == \"GB/s\" and .placement == \"$placement\" and
				.size * .depth <= $limit and .size * .depth > $limit / 16" |
				jq -r "[$name, .size, .median] | @tsv" |
				lines "through a ring of $((limit / 1048576)) MiB, $placement" "bytes a record" \
					"GB/s" "set logscale xy" \
					"Gigabytes a second against the size of a record; $(where "$placement").
					Dashed is the limit: the same pieces, copied and flagged, without a ring
					around them. Higher is better."
		done
	done
}

sides_of() {
	case $1 in
	spsc) echo "one producer and one consumer" ;;
	*) echo "many producers and consumers, used by one of each" ;;
	esac
}

calls_of() {
	case $1 in
	1) echo "one record a call" ;;
	*) echo "$1 records a call" ;;
	esac
}

# cdfs BENCH EXTRA PLACEMENT TITLE WHAT: distributions, one a system: its best policy is what was reported.
# First all of it, then the tail: the fraction that was slower.
cdfs() {
	local points=$work/cdf.tsv marks=lines

	jq -rs "map(select(.cdf and .bench == \"$1\" and .placement == \"$3\" and ($2)))
		| unique_by($name + .policy) | .[]
		| ($name + \" \" + .policy) as \$s | .cdf[] | [\$s, .[0], .[1]] | @tsv" "$results" >"$points"
	lines "$4, $3: distribution" "nanoseconds" "fraction not slower" \
		"set logscale x; set yrange [0:1]" \
		"What part of the $5 took no longer than the time below; $(where "$3"). The further left and the
		steeper, the better." <"$points"
	awk -F'\t' -v OFS='\t' '$3 < 0.9999999 { print $1, $2, 1 - $3 }' "$points" |
		lines "$4, $3: tail" "nanoseconds" "fraction slower" \
			"set logscale xy; set yrange [1e-6:1]; set format y '%g'" \
			"What part of the $5 took longer than the time below: 0.01 is the 99th percentile, 0.0001
			the 99.99th; $(where "$3"). The further left, the better."
}

latency_charts() {
	local placement kind rate

	section "Round trips" "One record there and its echo back over a second ring. Dashed is the limit: one cache
		line there and back, without a ring."
	for placement in $(placements); do
		for kind in spsc mpmc; do
			cdfs latency ".kind == \"$kind\" and .size == 8 or .system == \"line\"" "$placement" \
				"$kind rings, 8 bytes" "round trips"
		done
	done
	section "Under a fixed rate" "Records are sent on a schedule; each counts from the time it was due, so a
		stall counts for all that it delayed."
	for placement in $(placements); do
		for rate in $(jq -r 'select(.bench == "openloop" and .rate) | .rate' "$figures" | sort -gu); do
			cdfs openloop ".rate == $rate" "$placement" "$rate records a second" "records"
		done
	done
}

oversubscription_charts() {
	local placement batch

	section "More sides than processors" "Rings for many, with one, two and four producers and as many consumers.
		Some peers fall to a hundredth as soon as a side is not running."
	for placement in $(placements); do
		for batch in 1 32; do
			rows ".bench == \"oversubscribe\" and .placement == \"$placement\" and .batch == $batch" |
				jq -r "[$name, .producers, .median] | @tsv" |
				lines "8 bytes, $(calls_of "$batch"), $placement" "producers, and as many consumers" \
					"million records/s, all together" \
					"set logscale y; set xtics (1, 2, 4); set xrange [0.8:4.2]" \
					"Records a second as producers and consumers become more than processors, each
					system in its better way to wait; $(where "$placement"). Level is good, falling is
					collapse."
		done
	done
}

kernel_charts() {
	local placement size

	section "Kernel mechanisms" "Blocking, one record a call, between two processes. quoit is there as it waits by
		default (futex) and spinning."
	for placement in $(placements); do
		for size in 64 4096; do
			rows ".bench == \"kernel\" and .unit == \"M/s\" and .size == $size and
				.placement == \"$placement\"" |
				jq -r "[$name + \" \" + .policy, .median] | @tsv" | sort -t$'\t' -k2,2g |
				bars "$size bytes, $placement" "million records/s" \
					"Records of $size bytes a second; $(where "$placement"). Longer is better; the
					scale is logarithmic."
		done
		rows ".bench == \"kernel-echo\" and .stat == \"p50\" and .size == 64 and
			.placement == \"$placement\"" |
			jq -r "[$name + \" \" + .policy, .median] | @tsv" | sort -t$'\t' -k2,2gr |
			bars "round trip of 64 bytes, $placement" "nanoseconds, median" \
				"Time for a record there and its echo back; $(where "$placement"). Shorter is better;
				the scale is logarithmic."
		rows ".bench == \"kernel-handover\" and .stat == \"p50\" and .placement == \"$placement\"" |
			jq -r '[.system, .median] | @tsv' | sort -t$'\t' -k2,2gr |
			bars "hand-over there and back, $placement" "nanoseconds, median" \
				"What only synchronises: time until the other side has run and answered;
				$(where "$placement"). Shorter is better; the scale is logarithmic."
	done
}

waits_charts() {
	local placement

	section "Ways to wait" "What quoit's ways to wait cost while both sides are busy, while nothing comes, and when
		both sides sleep before every record."
	for placement in $(placements); do
		rows ".bench == \"waits-busy\" and .unit == \"M/s\" and .placement == \"$placement\"" |
			jq -r '["quoit " + .kind + " " + .policy, .median] | @tsv' | sort -t$'\t' -k2,2g |
			bars "both sides busy, $placement" "million records/s" \
				"Records of 64 bytes a second when there is always work: being able to sleep should
				cost nothing; $(where "$placement"). Longer is better."
		rows ".bench == \"waits-idle\" and .placement == \"$placement\"" |
			jq -r '["quoit " + .kind + " " + .policy, .median] | @tsv' | sort -t$'\t' -k2,2gr |
			bars "nothing to do, $placement" "% of a processor" \
				"How much of a processor a consumer burns that waits in vain. Shorter is better; the
				scale is logarithmic."
		rows ".bench == \"waits-wake\" and .stat == \"p50\" and .placement == \"$placement\"" |
			jq -r '[(if .system == "quoit" then "quoit " + .kind + " " + .policy else .system end),
				.median] | @tsv' |
			sort -t$'\t' -k2,2gr | awk -F'\t' '!seen[$1]++' |
			bars "sleep and wake, $placement" "nanoseconds, median" \
				"Round trip when both sides sleep before every record, beside the kernel's bare
				primitives; $(where "$placement"). Shorter is better; the scale is logarithmic."
	done
}

scale_charts() {
	local placement

	section "Many endpoints" "One ring for many, ever more producers (n:1), consumers (1:n) or both (n:n) on the same
		processors."
	for placement in $(placements); do
		rows ".bench == \"scale\" and (.mode | test(\":\")) and .placement == \"$placement\"" |
			jq -r '[.mode + " " + .policy, ([.producers, .consumers] | max), .median] | @tsv' |
			lines "64 bytes, $placement" "endpoints on the larger side" \
				"million records/s, all together" "set logscale x 2; set yrange [0:*]" \
				"Records a second as endpoints become many; $(where "$placement"). Level is good."
	done
}

heap_charts() {
	local placement kind

	section "Large records in the heap" "Records of 16 KiB to 16 MiB, four of them in flight: in the ring, or in the
		heap beside it while the ring carries their place. Dashed is the limit: the same pieces, copied and
		flagged."
	for placement in $(placements); do
		for kind in spsc mpmc; do
			rows ".bench == \"heap\" and .unit == \"GB/s\" and .placement == \"$placement\" and
				(.kind == \"$kind\" or .system == \"stream\")" |
				jq -r '[.system + " " + ({inplace: "in place", copy: "copying", heap: "heap, in place",
					"heap-copy": "heap, copying"}[.mode]), .size, .median] | @tsv' |
				lines "$kind rings, $placement" "bytes a record" "GB/s" \
					"set logscale x 2; set yrange [0:*]; set format x '%.0b%B'" \
					"Gigabytes a second against the size of a record; $(where "$placement"). Higher is
					better."
		done
	done
}

pollset_charts() {
	local placement

	section "Many rings, one reader" "One thread that reads 1 to 1,000 rings: by a pollset, by looking into each, and,
		to compare, by epoll on as many event descriptors without any data."
	for placement in $(placements); do
		for stat in idle one all; do
			rows ".bench == \"pollset\" and .stat == \"$stat\" and .placement == \"$placement\"" |
				jq -r '[.mode, .depth, .median] | @tsv' |
				lines "$(pollset_title $stat)" "rings" "nanoseconds" "set logscale xy" \
					"$(pollset_caption $stat) Lower is better, level is best."
		done
	done
}

pollset_title() {
	case $1 in
	idle) echo "nothing anywhere" ;;
	one) echo "one ring has something" ;;
	*) echo "all rings have something" ;;
	esac
}

pollset_caption() {
	case $1 in
	idle) echo "What it costs to find out that no ring has anything." ;;
	one) echo "A record is sent to one ring, found and taken: time for each record." ;;
	*) echo "A record is sent to each ring, and all are taken: time for each record." ;;
	esac
}

lifecycle_charts() {
	section "Life cycle" "What is not the data path: making a ring, coming and going, and a producer that is killed
		while its consumer waits."
	rows '.bench == "lifecycle" and (.stat | endswith("-p99"))' |
		jq -rs 'group_by([.mode, .size, .stat]) | .[] | max_by(.median)
			| ["quoit \(.mode) \(.size / 1048576) MiB \(.stat)", .median] | @tsv' | sort -t$'\t' -k1,1r |
		bars "99th percentile of each step" "microseconds" \
			"Shorter is better; the scale is logarithmic."
	rows '.bench == "lifecycle-kill"' |
		jq -rs 'group_by([.mode, .stat]) | .[] | max_by(.median)
			| ["quoit \(.mode) \(.stat)", .median] | @tsv' | sort -t$'\t' -k1,1r |
		bars "a killed producer" "microseconds" \
			"Detection is from SIGKILL to the error that the waiting consumer gets, recovery from the
			successor's first call to its first record's arrival. Shorter is better; the scale is logarithmic."
}

# ---- tables --------------------------------------------------------------------------------------

targets_table() {
	section "What was aimed at" "The worst cell of each target. In a cell quoit's better mode counts, against the
		strongest of the others; a ratio is of records a second, or, inverted, of times."
	{
		echo "<table class=wide><tr><th>what<th>target<th>placement<th>worst cell<th>figure<th><th>cells that meet it</tr>"
		jq -rs -f "$here/targets.jq" "$figures" | escape | awk -F'\t' '{
			print "<tr><td>" $1 "<td>" $2 "<td>" $3 "<td>" $6 "<td>" $4 \
				"<td class=\"" ($5 == "met" ? "better" : "worse") "\">" $5 "<td>" $7 "</tr>" }'
		echo "</table>"
	} >>"$page"
}

ratio_table() {
	section "quoit against the best of the others" "For each cell, the other system that comes closest, or is
		ahead. The ratio is of the first figure of the benchmark: records a second, or the typical round trip."
	{
		echo "<details><summary>every cell</summary><table><tr><th>benchmark<th>kind<th>cell<th>against<th>placement<th>quoit<th>ratio<th>from<th>to</tr>"
		jq -rs '[.[] | select(.unit == "ratio" and (.stat == null or .stat == "typical")
				and .system == "quoit" and (.bench | test("waits") | not))]
			| group_by([.bench, .kind, .mode, .size, .depth, .batch, .producers, .rate, .placement])
			| .[] | min_by(.median)
			| "<tr><td>\(.bench)<td>\(.kind)<td>\(.size) B x\(.depth)" +
			  (if .batch > 1 then ", batch \(.batch)" else "" end) +
			  ", \(.producers)P\(.consumers)C" + (if .rate then ", \(.rate)/s" else "" end) +
			  "<td>\(.against)<td>\(.placement)<td>\(.mode) \(.policy)" +
			  "<td class=\"\(if .median < 1 then "worse" else "better" end)\">" +
			  "\(.median * 100 | round / 100)<td>\(.min * 100 | round / 100)" +
			  "<td>\(.max * 100 | round / 100)</tr>"' "$figures"
		echo "</table></details>"
	} >>"$page"
}

all_rows() {
	section "All figures" "Median, smallest and largest of the rounds, and the canary (one way)."
	for bench in $(jq -r '.bench' "$figures" | awk '!seen[$0]++'); do
		{
			echo "<details><summary>$bench</summary><table>"
			echo "<tr><th>system<th>kind<th>mode<th>policy<th>size<th>depth<th>batch<th>sides<th>placement"
			echo "<th>what<th>median<th>min<th>max<th>unit<th>rounds<th>canary</tr>"
			rows ".bench == \"$bench\"" | jq -r '
				"<tr\(if .system == "quoit" then " class=own" else "" end)>" +
				"<td>\(.system)\(if .between then " (threads)" else "" end)<td>\(.kind // "")" +
				"<td>\(.mode // "")<td>\(.policy // "")<td>\(.size // "")<td>\(.depth // "")" +
				"<td>\(.batch // "")<td>" +
				(if .producers then "\(.producers)P\(.consumers)C" else "" end) +
				"<td>\(.placement)<td>\(.stat // "")\(if .rate then " at \(.rate)/s" else "" end)" +
				"<td>\(.median)<td>\(.min)<td>\(.max)<td>\(.unit)<td>\(.rounds)" +
				"<td>\(.canary_ns // "")</tr>"'
			echo "</table></details>"
		} >>"$page"
	done
	if jq -e 'select(.error)' "$figures" >/dev/null; then
		section "What failed" "These were not measured:"
		{
			echo "<ul>"
			jq -r 'select(.error) | "<li>\(.bench): \(.system) \(.policy // ""): \(.error)"' "$figures"
			echo "</ul>"
		} >>"$page"
	fi
}

head_of_page >"$page"
targets_table
ratio_table
throughput_charts
latency_charts
oversubscription_charts
kernel_charts
waits_charts
heap_charts
scale_charts
pollset_charts
lifecycle_charts
all_rows
echo "</body></html>" >>"$page"
cp "$page" "$folder/index.html"
echo "report.sh: $folder/index.html"
