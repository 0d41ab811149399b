#!/bin/bash
# SPDX-License-Identifier: MIT
# Many rings, when one of them is late, removed, corrupt, cannot be had, or loses its peer.
. "$(dirname "$0")/common.bash"

there() {
	"$bin/quoit" info "$1" >/dev/null 2>&1
}

# ---- fan-in ----------------------------------------------------------------------------------

# Rings that are not there yet hold up nobody, whether they come first or last.
three_rings
"$bin/quoit" create -q "${names[1]}"
start "$consume" -t 20 --lines "${names[@]}" >"$scratch/out" 2>"$scratch/err"
consumer=$pid
seq 201 205 | "$produce" -q -t 20 --lines "${names[1]}"
until_true grep -q 205 "$scratch/out"
check "a ring's records come while others are waited for" 0 $?
waited_for() {
	grep -c "waiting for somebody to create it" "$scratch/err"
}
two_waited_for() {
	[[ $(waited_for) == 2 ]]
}
until_true two_waited_for
sleep 1
check "what is waited for is told, once each" 2 "$(waited_for)"
seq 301 305 | "$produce" -q -t 20 --create --lines "${names[2]}"
until_true grep -q 305 "$scratch/out"
check "a ring that appears is read" 0 $?
seq 101 105 | "$produce" -q -t 20 --create --lines "${names[0]}"
finish "$consumer"
check "and the end is that of the last" 0 $?
check_same "nothing is missing" <(sort "$scratch/out") <(seq 101 105; seq 201 205; seq 301 305)

# --verify: a ring that comes late is checked from its first record, and one that was read before
# from the first that is met.
three_rings
"$produce" -q --create --verify -g 100 "${names[0]}"
"$consume" -q -t 20 --count 40 --discard "${names[0]}"
start "$consume" -t 20 --verify "${names[@]:0:2}" 2>"$scratch/err"
consumer=$pid
until_stat "${names[0]}" '"consumed":\{"records":100'
"$produce" -q --create --verify -g 100 "${names[1]}"
finish "$consumer"
check "--verify of a ring that comes late" 0 $?
check_match "counts it" "160 records of 2 producers, whole, in order" "$(cat "$scratch/err")"

# --remove takes away what was read to its end, and not a ring that has another consumer.
three_rings
"$bin/quoit" create -q "${names[1]}"
start "$consume" -q "${names[1]}" >/dev/null
other=$pid
until_stat "${names[1]}" '"consumers":1'
echo hello | "$produce" -q --create --lines "${names[0]}"
"$consume" -q -t 20 --remove --lines "${names[0]}" "${names[1]}" >"$scratch/out" 2>"$scratch/err"
check "what could be read was read" hello "$(cat "$scratch/out")"
there "${names[1]}"
check "a ring that another one reads stays" 0 $?
kill -KILL "$other"

# Those that never come.
three_rings
echo hello | "$produce" -q --create --lines "${names[1]}"
"$consume" -q -t 0.3 --lines "${names[@]}" >"$scratch/out" 2>"$scratch/err"
check "--timeout when a ring does not appear" 3 $?
check "each is told" 2 "$(grep -c "cannot attach to the ring: no such ring" "$scratch/err")"
check "the others were read" hello "$(cat "$scratch/out")"
"$consume" -t 0.1 "${names[0]}" "${names[2]}" 2>"$scratch/err" >/dev/null
check_match "the summary names the first" "${names[0]} and 1 more: 0 bytes" "$(tail -n 1 "$scratch/err")"
start "$consume" -q --lines "${names[0]}" "${names[1]}" >/dev/null 2>&1
consumer=$pid
until_stat "${names[1]}" '"consumers":1'
kill -TERM "$consumer"
finish "$consumer"
check "SIGTERM ends the waiting" 143 $?

# One that has a consumer: told after a second, which holds up nobody.
three_rings
start "$consume" -q --create --lines "${names[0]}" >/dev/null
until_stat "${names[0]}" '"consumers":1'
other=$pid
start "$consume" -t 20 --lines "${names[0]}" "${names[1]}" >"$scratch/out" 2>"$scratch/err"
consumer=$pid
seq 1 5 | "$produce" -q --create --lines "${names[1]}"
finish "$consumer"
check "a ring that has a consumer is left out" 1 $?
check_match "and told" "${names[0]}: cannot become its consumer: .* alive" "$(cat "$scratch/err")"
check_same "the other was read" "$scratch/out" <(seq 1 5)
# The same with --timeout, which passes after it was left out, or before.
for timeout in 1.05 0.3; do
	"$consume" -t $timeout --lines "${names[0]}" "${names[1]}" >"$scratch/out" 2>"$scratch/err"
	check "-t $timeout: a ring that has a consumer is the exit code" 1 $?
	check "-t $timeout: and told, once" 1 "$(grep -c "${names[0]}: cannot .* alive" "$scratch/err")"
done
"$consume" -t 0.3 --lines "${names[0]}" "${names[2]}" >"$scratch/out" 2>"$scratch/err"
check "of several the first" 1 $?
check "but each is told" "1 1" "$(for i in 0 2; do grep -c "${names[i]}: cannot" "$scratch/err"; done | paste -sd ' ')"

kill "$other"
finish "$other"

# A corrupt one: the others go on.
three_rings
names[0]=file:$scratch/ring
seq 1 5 | "$produce" -q --create --lines "${names[0]}"
offset=$(od -An -tu8 -j 72 -N 8 "$scratch/ring" | tr -d ' ') # data_offset, docs/FORMAT.md
printf '\377\377\377\377\377\377\377\277' |
	dd of="$scratch/ring" bs=1 seek="$offset" conv=notrunc status=none
seq 1 9 | "$produce" -q --create --lines "${names[1]}"
"$consume" -q -t 20 --lines "${names[@]:0:2}" >"$scratch/out" 2>"$scratch/err"
check "a corrupt ring is the exit code" 6 $?
check_same "and the other is read to its end" "$scratch/out" <(seq 1 9)

# ---- fan-out ---------------------------------------------------------------------------------

read_three() {
	local i
	readers=()
	for i in 0 1 2; do
		start "$consume" -q -t 20 --create --lines "$@" "${names[i]}" \
			>"$scratch/out.$i" 2>"$scratch/err.$i"
		readers+=("$pid")
	done
	for i in 0 1 2; do
		until_stat "${names[i]}" '"consumers":1'
	done
}

mkfifo "$scratch/stdin"
for way in round-robin copy; do
	# A ring is removed.
	three_rings
	read_three
	exec 9<>"$scratch/stdin"
	start "$produce" -t 20 --fan-out $way --lines "${names[@]}" <"$scratch/stdin" 2>"$scratch/err"
	producer=$pid
	seq 1 9 >&9
	for i in 0 1 2; do
		until_true grep -q . "$scratch/out.$i"
	done
	"$bin/quoit" rm "${names[1]}"
	finish "${readers[1]}"
	check "$way: who reads a removed ring is told" 3 $?
	seq 10 99 >&9
	until_true grep -q "removed" "$scratch/err"
	check_match "$way: so is who writes" "${names[1]}: the ring was removed; going on without it" \
		"$(cat "$scratch/err")"
	exec 9>&-
	finish "$producer"
	check "$way: and it is the exit code in the end" 3 $?
	finish "${readers[0]}"
	check "$way: the other rings see the end of the stream" 0 $?
	finish "${readers[2]}"
	[[ $way == copy ]] &&
		check_same "$way: with all that was sent" "$scratch/out.2" <(seq 1 99)

	# A consumer is killed.
	three_rings
	read_three
	exec 9<>"$scratch/stdin"
	start "$produce" -t 20 --fan-out $way --lines "${names[@]}" <"$scratch/stdin" 2>"$scratch/err"
	producer=$pid
	start yes >"$scratch/stdin"
	yes=$pid
	exec 9>&-
	for i in 0 1 2; do
		until_stat "${names[i]}" "$consumed"
	done
	kill -KILL "${readers[0]}"
	until_true grep -q "the consumer died; going on without it" "$scratch/err"
	check "$way: the death of one consumer is told" 0 $?
	kill "$yes"
	finish "$yes"
	finish "$producer"
	check "$way: and is the exit code in the end" 8 $?
	finish "${readers[1]}"
	check "$way: the others see the end of the stream" 0 $?
	finish "${readers[2]}"
	[[ $way == copy ]] &&
		check_same "$way: and the same of it" "$scratch/out.1" "$scratch/out.2"
	for i in 1 2; do
		check "$way: all that ring $i was sent was read, once" "$(records_in "${names[i]}")" \
			"$(wc -l <"$scratch/out.$i")"
	done
	finish "${readers[0]}"
done

# Records in a heap, by each way. Of about whole units, so that nobody needs jemalloc, which the
# sanitizers do not like.
head -c 650000 /dev/zero | tr '\0' x | fold -w 130000 >"$scratch/long"
echo >>"$scratch/long"
for way in round-robin copy hash; do
	for kind in spsc mpmc; do
		three_rings
		read_three --kind $kind --ring-size 64K --heap 1M
		(cat "$scratch/long"; seq 1 20) |
			"$produce" -q -t 20 --fan-out $way --lines "${names[@]}"
		check "$way, $kind: records in heaps" 0 $?
		for reader in "${readers[@]}"; do
			finish "$reader"
		done
		if [[ $way == copy ]]; then
			check_same "$way, $kind: each ring has them" "$scratch/out.2" \
				<(cat "$scratch/long"; seq 1 20)
		else
			check_same "$way, $kind: each has come once" <(sort "$scratch"/out.[012]) \
				<( (cat "$scratch/long"; seq 1 20) | sort)
		fi
	done
done

# --timeout is about standstill, also at the end, and names what stands still.
three_rings
for name in "${names[@]:0:2}"; do
	"$bin/quoit" create -q --persistent --size 4K "$name"
done
start "$produce" -q -t 0.4 --fan-out copy --remove --lines "${names[@]:0:2}" < <(seq 1 4)
for i in 1 2 3 4; do
	sleep 0.2
	for name in "${names[@]:0:2}"; do
		"$consume" -q -t 20 --count 1 --discard "$name"
	done
done
until_true eval '! there "${names[0]}"'
check "a slow consumer is waited for by --remove" 0 $?
for way in copy round-robin; do
	three_rings
	for name in "${names[@]:0:2}"; do
		"$bin/quoit" create -q --size 4K "$name"
	done
	start "$consume" -q --discard "${names[1]}"
	consumer=$pid
	until_stat "${names[1]}" '"consumers":1'
	[[ $way == round-robin ]] && kill -STOP "$consumer"
	seq 1 100000 | "$produce" -t 0.3 --fan-out $way --lines "${names[@]:0:2}" 2>"$scratch/err"
	check "$way: --timeout" 7 $?
	said=${names[0]}": nobody took a record for 0.3 s"
	[[ $way == round-robin ]] && said="nobody took a record from any of the rings for 0.3 s"
	check_match "$way: it is told of what" "$said" "$(cat "$scratch/err")"
	[[ $way == round-robin ]] && kill -CONT "$consumer"
	finish "$consumer"
done

# ---- rings that cannot all be had -------------------------------------------------------------

# Too few descriptors: what was created is taken back, what was there before stays.
three_rings
names+=("$ring-4" "$ring-5" "$ring-6" "$ring-7" "$ring-8")
rings+=("$ring-4" "$ring-5" "$ring-6" "$ring-7" "$ring-8")
for command in "$produce --fan-out round-robin" "$produce --fan-out copy" "$consume"; do
	what=$(basename "${command%% *}")${command#"${command%% *}"}
	"$bin/quoit" create -q "${names[0]}"
	# shellcheck disable=SC2086
	(ulimit -n 16 && $command -q -t 5 --create "${names[@]}" </dev/null) 2>"$scratch/err"
	check "$what: too few descriptors are an error" 1 $?
	check_match "$what: and told" "Too many open files; raise 'ulimit -n'" "$(cat "$scratch/err")"
	there "${names[0]}"
	check "$what: a ring that was there stays" 0 $?
	check "$what: those that were created are taken back" 0 \
		"$(for name in "${names[@]:1}"; do there "$name" && echo "$name"; done | wc -l)"
	"$bin/quoit" rm "${names[0]}"
done
three_rings
"$produce" -q --create --fan-out copy "${names[@]}" "file:$scratch/none/x" </dev/null 2>"$scratch/err"
check "a ring that cannot be made" 3 $?
there "${names[0]}"
check "takes the others with it" 3 $?
"$produce" -q --fan-out round-robin --wait futex a b </dev/null 2>"$scratch/err"
check "--wait is nothing for round-robin" 2 $?
done_testing
