#!/bin/bash
# SPDX-License-Identifier: MIT
# Fan-in and fan-out: one consumer of many rings, one producer into many.
. "$(dirname "$0")/common.bash"

# ---- fan-in ----------------------------------------------------------------------------------

for kind in spsc mpmc; do
	three_rings
	start "$consume" -q -t 20 --create --kind $kind --lines --summary "$scratch/sum" "${names[@]}" \
		>"$scratch/out"
	consumer=$pid
	for i in 1 2 3; do
		start "$produce" -q -t 20 --lines "${names[i - 1]}" < <(seq "${i}00001" "${i}30000")
	done
	finish "$consumer"
	check "$kind: fan-in ends when all rings have ended" 0 $?
	for i in 1 2 3; do
		check_same "$kind: what came through ring $i is whole and in order" \
			<(grep "^$i" "$scratch/out") <(seq "${i}00001" "${i}30000")
	done
	check "$kind: the summary counts all of them" 90000 "$(number "$scratch/sum" records)"
	check "$kind: and names them" 3 "$(grep -o "$tag" <(sed 's/.*"rings"//' "$scratch/sum") | wc -l)"
done

# A ring that floods, and one with a line now and then: the line does not wait for the flood.
three_rings
mkfifo "$scratch/trickle"
exec 9<>"$scratch/trickle"
start "$consume" -q -t 20 --create --lines --type 7 "${names[@]:0:2}" >"$scratch/out"
consumer=$pid
start "$produce" -q -t 20 -g 0 -s 64 "${names[0]}"
flood=$pid
start "$produce" -q -t 20 --type 7 --lines "${names[1]}" <"$scratch/trickle"
trickle=$pid
until_stat "${names[0]}" "$consumed"
echo "a line" >&9
until_true grep -q "a line" "$scratch/out"
check "a flooding ring does not hold up another" 0 $?
kill -TERM "$consumer"
finish "$consumer"
check "SIGTERM ends fan-in" 143 $?
finish "$flood"
check "whose producers get EPIPE" 141 $?
echo "another" >&9
finish "$trickle"
check "all of them, when they have something to send" 141 $?
exec 9>&-

# --verify, by ring.
three_rings
start "$consume" -t 20 --create --verify "${names[@]}" 2>"$scratch/err"
consumer=$pid
for name in "${names[@]}"; do
	start "$produce" -q -t 20 --verify -g 20000 "$name"
done
finish "$consumer"
check "--verify of many rings" 0 $?
check_match "counts them all" "60000 records of 3 producers, whole, in order" "$(cat "$scratch/err")"

# One ring's producer is killed; the others go on.
three_rings
start "$consume" -t 20 --create --lines "${names[@]}" >"$scratch/out" 2>"$scratch/err"
consumer=$pid
mkfifo "$scratch/stdin"
exec 9<>"$scratch/stdin"
start "$produce" -q -t 20 --lines "${names[0]}" <"$scratch/stdin"
victim=$pid
echo 1 >&9
until_stat "${names[0]}" "$consumed"
kill -KILL "$victim"
wait "$victim" 2>/dev/null
until_true grep -q "producer died" "$scratch/err"
check "the death of one producer is told" 0 $?
for i in 2 3; do
	start "$produce" -q -t 20 --lines "${names[i - 1]}" < <(seq "${i}001" "${i}900")
done
finish "$consumer"
check "and is the exit code when the others have ended" 8 $?
check_same "which were read to their ends" <(sort -n "$scratch/out") \
	<(echo 1; seq 2001 2900; seq 3001 3900)
exec 9>&-

# A removed ring, a quiet one.
three_rings
start "$consume" -t 20 --create --lines "${names[@]}" >"$scratch/out" 2>"$scratch/err"
consumer=$pid
until_stat "${names[2]}" '"consumers":1'
"$bin/quoit" rm "${names[@]}"
finish "$consumer"
check "removed rings end it" 3 $?
check "and each is told" 3 "$(grep -c removed "$scratch/err")"
three_rings
"$consume" -q -t 0.2 --create --lines "${names[@]}" 2>"$scratch/err"
check "--timeout when all are quiet" 7 $?

# ---- fan-out ---------------------------------------------------------------------------------

# read_three ARG...: a consumer for each ring, into $scratch/out.0 and so on; sets $readers.
read_three() {
	local i
	readers=()
	for i in 0 1 2; do
		start "$consume" -q -t 20 --create --lines "$@" "${names[i]}" >"$scratch/out.$i"
		readers+=("$pid")
	done
}
finish_readers() {
	local reader status=0
	for reader in "${readers[@]}"; do
		finish "$reader" || status=$?
	done
	return $status
}

for kind in spsc mpmc; do
	three_rings
	read_three --kind $kind
	seq 1 30000 | "$produce" -q -t 20 --fan-out round-robin --lines "${names[@]}"
	check "$kind: round-robin" 0 $?
	finish_readers
	check "$kind: whose readers see the ends of their streams" 0 $?
	check_same "$kind: each record has gone to one ring" \
		<(sort -n "$scratch"/out.[012]) <(seq 1 30000)
	for i in 0 1 2; do
		check "$kind: ring $i has had its share" 1 "$(($(wc -l <"$scratch/out.$i") > 1000))"
		check "$kind: and its order" 0 "$(sort -nc "$scratch/out.$i" 2>&1 | wc -l)"
	done

	three_rings
	read_three --kind $kind
	seq 1 20000 | "$produce" -q -t 20 --fan-out copy --lines "${names[@]}"
	check "$kind: copy" 0 $?
	finish_readers
	for i in 0 1 2; do
		check_same "$kind: ring $i has them all" "$scratch/out.$i" <(seq 1 20000)
	done

	three_rings
	read_three --kind $kind
	(seq 1 500; seq 1 500; seq 1 500) |
		"$produce" -q -t 20 --fan-out hash --lines "${names[@]}"
	check "$kind: hash" 0 $?
	finish_readers
	check_same "$kind: each record has gone to one ring" \
		<(sort -n "$scratch"/out.[012] | uniq) <(seq 1 500)
	check "$kind: equal ones to the same" 500 \
		"$(for i in 0 1 2; do sort -u "$scratch/out.$i"; done | wc -l)"
done

# A stream of bytes, copied.
three_rings
head -c 3000000 "$produce" /dev/zero 2>/dev/null | head -c 3000000 >"$scratch/bytes"
readers=()
for i in 0 1 2; do
	start "$consume" -q -t 20 --create "${names[i]}" >"$scratch/out.$i"
	readers+=("$pid")
done
"$produce" -q -t 20 --fan-out copy --remove "${names[@]}" <"$scratch/bytes"
check "copy of a stream of bytes" 0 $?
finish_readers
for i in 0 1 2; do
	check_same "ring $i has it" "$scratch/out.$i" "$scratch/bytes"
done
check "--remove removes all of them" 0 "$("$bin/quoit" ls --no-header | grep -c "$ring")"

# Round trip: generated, over three rings, into one reader.
three_rings
start "$consume" -t 20 --create --verify=order "${names[@]}" 2>"$scratch/err"
consumer=$pid
for name in "${names[@]}"; do
	until_stat "$name" '"consumers":1'
done
"$produce" -q -t 20 --fan-out round-robin --verify -g 30000 -s 64-512 "${names[@]}"
check "generated records, round-robin" 0 $?
finish "$consumer"
check "arrive by fan-in" 0 $?
check_match "whole" "30000 records" "$(cat "$scratch/err")"

# Consumers that leave.
three_rings
read_three
start "$produce" -t 20 --fan-out copy --lines "${names[@]}" < <(yes line) 2>"$scratch/err"
producer=$pid
until_stat "${names[2]}" "$consumed"
kill -TERM "${readers[0]}"
until_true grep -q "closed; going on without it" "$scratch/err"
check "a ring whose consumer has closed is left out" 0 $?
kill -TERM "${readers[1]}" "${readers[2]}"
finish "$producer"
check "EPIPE when nobody is left" 141 $?
three_rings
read_three
start "$produce" -q -t 20 --fan-out hash --lines "${names[@]}" < <(yes line)
producer=$pid
until_true grep -qs line "$scratch"/out.0 "$scratch"/out.1 "$scratch"/out.2
kill -TERM "${readers[@]}"
finish "$producer"
check "hash: EPIPE when a record has nowhere to go" 141 $?

# Usage.
"$produce" -q a b </dev/null 2>"$scratch/err"
check "several rings need --fan-out" 2 $?
"$produce" -q --fan-out sideways a b </dev/null 2>"$scratch/err"
check "--fan-out takes three ways" 2 $?
"$produce" -q --fan-out copy --seek-committed a b </dev/null 2>"$scratch/err"
check "--seek-committed is about one ring" 2 $?
"$consume" -q --wait spin a b 2>"$scratch/err"
check "--wait is about one ring" 2 $?
done_testing
