#!/bin/bash
# SPDX-License-Identifier: MIT
# Generated loads: verification finds what is wrong and nothing else; rates, latencies and summaries.
. "$(dirname "$0")/common.bash"

for kind in spsc mpmc; do
	for options in "-s 32" "-s 32-200 --batch 32" "-s 256"; do
		new_ring
		# shellcheck disable=SC2086
		start "$produce" -q -t 20 --create --kind $kind --summary "$scratch/sent" --verify \
			-g 200k $options "$ring"
		producer=$pid
		"$consume" -t 20 --verify --summary "$scratch/received" --remove "$ring" 2>"$scratch/err"
		check "$kind $options: whole, in order, once" 0 $?
		check_match "$kind $options: and said so" \
			"verify: ok: 200000 records of 1 producers, whole, in order, each once" \
			"$(cat "$scratch/err")"
		finish "$producer"
		check "$kind $options: producer ends well" 0 $?
		check "$kind $options: records" 200000 "$(number "$scratch/received" records | head -n 1)"
		check "$kind $options: bytes" "$(number "$scratch/sent" bytes | head -n 1)" \
			"$(number "$scratch/received" bytes | head -n 1)"
	done
done

# Two and two.
new_ring
start "$consume" -q -t 20 --create --kind mpmc --verify=order --summary "$scratch/c1" "$ring"
consumer1=$pid
start "$consume" -q -t 20 --create --kind mpmc --verify=order --summary "$scratch/c2" "$ring"
consumer2=$pid
start "$produce" -q -t 20 --create --kind mpmc --verify -g 100k "$ring"
producer1=$pid
start "$produce" -q -t 20 --create --kind mpmc --verify -g 100k "$ring"
for child in "$producer1" "$pid" "$consumer1" "$consumer2"; do
	finish "$child"
	check "two and two: all end well" 0 $?
done
total=$(($(number "$scratch/c1" records | head -n 1) + $(number "$scratch/c2" records | head -n 1)))
check "two and two: every record is taken by one" 200000 "$total"

# What --verify is there for: records are taken out of a ring, tampered with, and sent again.
new_ring
"$produce" -q --create --verify -g 100 -s 60 "$ring"
"$consume" -q --length-prefixed --remove "$ring" >"$scratch/good"
record() { # from to: records FROM to TO of the stream, 64 bytes each with its length
	tail -c +$(($1 * 64 + 1)) "$scratch/good" | head -c $((($2 - $1 + 1) * 64))
}
verify() { # WHAT STATUS REGEX: $scratch/bad
	new_ring
	"$produce" -q --create --length-prefixed "$ring" <"$scratch/bad"
	"$consume" -t 20 --verify --remove "$ring" 2>"$scratch/err"
	check "$1: exit code" "$2" $?
	check_match "$1: message" "$3" "$(cat "$scratch/err")"
}
{ record 0 99; } >"$scratch/bad"
verify "untouched" 0 "verify: ok: 100 records"
{ record 0 9; record 12 99; } >"$scratch/bad"
verify "two records missing" 6 "FAILED.* 2 missing, 0 twice, 0 out of order, 0 damaged"
{ record 1 99; } >"$scratch/bad"
verify "the first missing" 6 "FAILED.* 1 missing, 0 twice, 0 out of order, 0 damaged"
{ record 0 9; record 9 99; } >"$scratch/bad"
verify "one twice" 6 "FAILED.* 0 missing, 1 twice, 0 out of order, 0 damaged"
{ record 0 9; record 20 29; record 10 19; record 30 99; } >"$scratch/bad"
verify "ten late" 6 "FAILED.* 0 missing, 0 twice, 10 out of order, 0 damaged"
{ record 0 9; head -c 63 < <(record 10 10); printf '!'; record 11 99; } >"$scratch/bad"
verify "one damaged" 6 "FAILED.* 1 damaged"
seq 1 64 | { cat "$scratch/good"; printf '\5\0\0\0hello'; } >"$scratch/bad"
verify "one that was not generated" 6 "FAILED.* 1 not generated"
new_ring
"$produce" -q --create -g 10 "$ring"
"$consume" --verify --remove "$ring" 2>"$scratch/err"
check "without checksums: exit code" 6 $?
check_match "without checksums: message" "10 without checksum" "$(cat "$scratch/err")"

# Rate and latency: 1000 records in half a second, each a moment after it was due.
new_ring
start "$consume" -t 20 --create --latency --verify --summary "$scratch/sum" "$ring" 2>"$scratch/err"
consumer=$pid
"$produce" -q -t 20 --verify -g 1k --rate 2k "$ring"
finish "$consumer"
check "rate: consumer ends well" 0 $?
check_match "latency is printed" "latency, us: p50 [0-9.]+ p90 [0-9.]+ p99 [0-9.]+ p99.9 [0-9.]+ \
p99.99 [0-9.]+ max [0-9.]+ \(1000 records\)" "$(cat "$scratch/err")"
seconds=$(number "$scratch/sum" seconds)
check "1000 records at 2000 a second take about half a second ($seconds)" 1 \
	"$(awk "BEGIN { print ($seconds > 0.45 && $seconds < 2) }")"
check "percentiles rise" ok "$(sed -n 's/.*latency, us://p' "$scratch/err" | awk '{
	for (i = 4; i <= 12; i += 2) if ($i < $(i - 2)) { print "fall"; exit }
	print "ok" }')"
# A stalled consumer delays what was due meanwhile: that must be in the figures.
new_ring
start "$produce" -q -t 20 --create --ring-size 1K --latency -g 400 -s 32 --rate 1k "$ring"
producer=$pid
sleep 0.3
"$consume" -q -t 20 --latency --summary "$scratch/sum" "$ring"
finish "$producer"
p50=$(number "$scratch/sum" p50)
check "waiting for a stalled consumer counts as latency (p50 $p50 ns)" 1 $((p50 > 50000000))
new_ring
"$produce" -q --create -g 10 "$ring"
"$consume" -t 20 --latency "$ring" 2>"$scratch/err"
check_match "records without a time are told of" "10 records carry no time" "$(cat "$scratch/err")"

# Reports. A machine that is busy with others may skip lines: then try again.
for try in 1 2 3; do
	new_ring
	start "$produce" -t 20 --create --stats 0.1 -g 500 --rate 1k --summary "$scratch/sum" "$ring" \
		2>"$scratch/err"
	producer=$pid
	begun=$EPOCHREALTIME
	"$consume" -q -t 20 --progress --discard "$ring" 2>"$scratch/quiet"
	finish "$producer"
	lines=$(grep -c 'records/s  ring' "$scratch/err")
	seconds=$(awk "BEGIN { print $EPOCHREALTIME - $begun + 0.5 }") # more than it ran
	((lines >= 3)) && break
	echo "only $lines lines, try $try"
done
check "--stats 0.1 prints a line every 0.1 s ($lines lines in at most $seconds s)" 1 \
	"$(awk "BEGIN { print ($lines >= 3 && $lines <= $seconds * 10 + 1) }")"
check "--quiet is quiet" "" "$(cat "$scratch/quiet")"
new_ring
"$produce" --create --json -g 10 "$ring" 2>"$scratch/json"
check "--json prints one line" 1 "$(wc -l <"$scratch/json")"
check_match "of JSON" '^\{"schema": 1, "program": "quoit-produce", .*"records": 10, .*\}$' \
	"$(cat "$scratch/json")"
new_ring
start "$produce" -q -t 20 --create --verify -g 10 "$ring"
producer=$pid
"$consume" -t 20 --verify --latency --json "$ring" >"$scratch/out" 2>"$scratch/json"
check "--json with --verify: exit code" 0 $?
finish "$producer"
check "--json with --verify and --latency prints one line, too" 1 "$(wc -l <"$scratch/json")"
check_match "with the verdict" '"verify": \{"ok": true, "records": 10,' "$(cat "$scratch/json")"
check_match "and how many records had no time" '"without_time": 10' "$(cat "$scratch/json")"
progress=$'\r\033\\[Kquoit-consume: 0:[0-9][0-9]  [1-9][0-9]* B  .*\r\033\\[Kquoit-consume: 0:[0-9][0-9]  [1-9]'
for try in 1 2 3; do
	new_ring
	start "$consume" -t 20 --create --progress --discard "$ring" 2>"$scratch/err"
	"$produce" -q -g 10 --rate 20 "$ring"
	finish "$pid"
	[[ $(<"$scratch/err") =~ $progress ]] && break
	echo "no progress seen, try $try"
done
check_match "--progress draws over itself" "$progress" "$(cat "$scratch/err")"
done_testing
