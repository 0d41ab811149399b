# SPDX-License-Identifier: MIT
#
# What was aimed at, and what came out: one row of tab-separated values for each target and placement:
#
#   what, target, placement, figure, "met" or "missed" or "not measured", where, cells that meet it
#
# The figure is that of the worst cell, and its met or missed is the target's. In a cell quoit's better mode (copying or in place) counts,
# against the strongest of the others. Ratios are medians of per-round ratios; above 1 quoit is the
# better, also for times. Read with `jq -rs -f`.

def cell: [.bench, .kind, .size, .depth, .batch, .producers, .consumers, .rate];

def name_of_cell:
	(if .size >= 1048576 then "\(.size / 1048576) MiB" elif .size >= 16384 then "\(.size / 1024) KiB"
		else "\(.size) B" end) + (if .depth then " x\(.depth)" else "" end)
	+ (if .batch and .batch > 1 then ", batch \(.batch)" else "" end)
	+ (if .producers then ", \(.producers)P\(.consumers)C" else "" end);

def rounded: if . >= 100 then round elif . >= 1 then (. * 100 | round / 100)
	elif . >= 0.1 then (. * 1000 | round / 1000)
	else (. * 1000000 | round / 1000000) end;

# Ratios of quoit's to others' rows.
def ratios(f): map(select(.unit == "ratio" and .system == "quoit" and f));

# Quoit's own figures.
def figures(f): map(select(.system == "quoit" and .unit != "ratio" and .median != null and f));

# Of each cell quoit's better way, against the strongest of the others.
def each_cell: group_by(cell)
	| map(group_by([.mode, .policy]) | map(min_by(.median)) | max_by(.median));

def row($what; $target; $figure; $met; $where; $of):
	[$what, $target, .placement,
	 ($figure | rounded | tostring) + (if .unit == "ratio" or .unit == "M/s" then "" else " " + .unit end),
	 (if $met then "met" else "missed" end), $where, $of];

# A figure of one or two intervals is a hint, no more: it says so.
def few: if .rounds < 3 then ", \(.rounds) round\(if .rounds > 1 then "s" else "" end) only" else "" end;

# Nothing there to judge by: it says so.
def judge($what; $target; f): if length == 0 then [$what, $target, "", "", "not measured", "", ""] else f end;

# The worst cell has at least this ratio.
def at_least($what; $target; $text): judge($what; $text;
	group_by(.placement)[] | each_cell
	| "\(map(select(.median >= $target)) | length) of \(length)" as $of | min_by(.median)
	| row($what; $text; .median; .median >= $target;
		"\(.kind) " + name_of_cell + " \(.mode) \(.policy), against \(.against)" + few; $of));

# The largest of these figures is at most that.
def at_most($what; $target; $text): judge($what; $text;
	group_by(.placement)[]
	| "\(map(select(.median <= $target)) | length) of \(length)" as $of | max_by(.median)
	| row($what; $text; .median; .median <= $target;
		([.kind, .mode, (if .size then name_of_cell else null end), .policy]
		| map(select(. != null)) | join(" ")) + few; $of));

def throughput($kind; $batch): ratios(.bench == "throughput" and .kind == $kind and .batch == $batch);
def is_peer: .against | startswith("line/") or startswith("stream/") | not;

# quoit's better way with several sides, in shares of its own with one of each.
def no_collapse:
	map(select(.bench == "oversubscribe" and .system == "quoit" and .unit == "M/s" and .batch == 1))
	| judge("MPMC oversubscribed, to our own 1P1C"; "≥ 0.8";
		group_by(.placement)[] | group_by(.producers) | map(max_by(.median))
		| (map(select(.producers == 1)) | .[0].median) as $one | select($one != null)
		| map(select(.producers > 1) | . + {share: (.median / $one)})
		| select(length > 0)
		| "\(map(select(.share >= 0.8)) | length) of \(length)" as $of | min_by(.share)
		| row("MPMC oversubscribed, to our own 1P1C"; "≥ 0.8"; .share; .share >= 0.8;
			name_of_cell + " \(.mode) \(.policy)" + few; $of));

# System calls a record: the kernel's count where it can be had, else the library's own.
def system_calls:
	figures(.bench == "waits-busy" and .policy == "futex") as $all
	| ($all | map(select(.stat == "syscalls"))) as $counted
	| if ($counted | length) > 0 then $counted else $all | map(select(.stat == "sleeps+wakes")) end;

(throughput("spsc"; 1) | at_least("SPSC, one record at a time"; 1.2; "≥ 1.2 × the best peer")),
(throughput("spsc"; 32) | at_least("SPSC, batches of 32"; 1.2; "≥ 1.2 × the best peer")),
(ratios(.bench == "latency" and .kind == "spsc" and .stat == "typical" and (is_peer | not) and .size == 8)
	| at_least("SPSC round trip, 8 B"; 1 / 1.15; "≥ 0.87 × the bare line (≤ 1.15 × its time)")),
(ratios(.bench == "latency" and .kind == "spsc" and .stat == "p99.9" and is_peer)
	| at_least("SPSC round trip, p99.9"; 1; "≥ 1 × the best peer")),
(ratios(.bench == "oversubscribe" and .batch == 1)
	| at_least("MPMC, one record at a time, 1P1C to 4P4C"; 2; "≥ 2 × the best peer")),
(throughput("mpmc"; 1)
	| at_least("MPMC, the same, 1P1C, other sizes and depths"; 2; "≥ 2 × the best peer")),
no_collapse,
(ratios((.bench == "oversubscribe" or .bench == "throughput") and .kind == "mpmc" and .batch == 32
		and (.against | startswith("rte_ring-hts/")))
	| at_least("MPMC, batches of 32"; 1; "≥ 1 × rte_ring HTS")),
(("futex", "sem", "sysvsem", "eventfd") as $wait
	| ratios(.bench == "waits-busy" and .stat == null and .policy == $wait)
		| at_least("blocking waits (\($wait)), both sides busy"; 0.95; "≥ 0.95 × spinning")),
(system_calls | at_most("system calls (futex), both sides busy"; 0.0001; "< 1 in 10,000 records")),
(figures(.bench == "waits-idle" and (.policy == "spin" or .policy == "yield" | not))
	| at_most("blocking waits, idle"; 0.5; "< 0.5 % of a processor")),
(ratios(.bench == "waits-wake" and .stat == "p50" and .policy == "futex")
	| at_least("sleep and wake, round trip"; 1 / 1.1; "≥ 0.91 × a bare futex (≤ 1.1 × its time)")),
(ratios(.bench == "sizes" and .mode == "inplace" and .size >= 4096 and (.unit == "ratio")
		and (.against | startswith("stream/")))
	| at_least("large payloads, in place"; 0.9; "≥ 0.9 × the raw stream")),
(ratios(.bench == "kernel" and .size == 64) | at_least("kernel IPC, throughput, 64 B"; 50; "≥ 50 × the best")),
(ratios(.bench == "kernel-echo" and .stat == "p50" and .size == 64 and .policy == "spin")
	| at_least("kernel IPC, round trip spinning, 64 B"; 200; "≥ 200 × the best")),
(figures(.bench == "lifecycle" and .stat == "attach-p99")
	| at_most("attach, p99"; 1000; "≤ 1 ms")),
(figures(.bench == "lifecycle" and .stat == "detach-p99")
	| at_most("detach, p99"; 1000; "≤ 1 ms")),
(figures(.bench == "lifecycle-kill" and .stat == "recovery-max")
	| at_most("recovery after a kill, worst of an interval"; 1000; "≤ 1 ms after detection")),
(figures(.bench == "lifecycle-kill" and .stat == "detection-max")
	| at_most("detection of a kill, worst of an interval"; 100000; "≤ 100 ms while someone waits"))
| @tsv
