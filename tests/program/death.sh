#!/bin/bash
# SPDX-License-Identifier: MIT
# kill -9: the other side is told, a successor goes on, and the file is whole in the end.
. "$(dirname "$0")/common.bash"

data=$scratch/data
head -c 20000000 /dev/urandom >"$data"

# Kill a producer that takes more than two seconds at some moment after its first record.
# kill_producer PID RING RECORDS_BEFORE
kill_producer() {
	until_true more_than "$2" "$3"
	moment
	kill -KILL "$1"
	finish "$1"
}

moment() {
	sleep "0.$(printf %03d $((RANDOM % 200)))"
}

# A killed producer, and successors that finish its file, some of which are killed as well.
for round in 1 2 3 4 5; do
	for options in "--rate 120" "--rate 12k --chunk 600"; do
		new_ring
		start "$consume" -t 20 --create --ring-size 256K --resume "$ring" >"$scratch/out" \
			2>"$scratch/err"
		consumer=$pid
		for death in 1 2; do
			before=$(records_in "$ring")
			# shellcheck disable=SC2086
			start "$produce" -q $options --seek-committed "$ring" <"$data"
			kill_producer "$pid" "$ring" "$before"
			check "round $round: producer $death was killed in mid-stream" 137 $?
		done
		"$produce" --seek-committed "$ring" <"$data" 2>"$scratch/err2"
		check "round $round: its successor ends well" 0 $?
		finish "$consumer"
		check "round $round: the consumer ends well" 0 $?
		check_same "round $round: the file is whole" "$data" "$scratch/out"
		check "round $round: the consumer tells of both deaths" 2 \
			"$(grep -c 'the producer died after .* waiting for its successor' "$scratch/err")"
		check "round $round: and of the successors" 2 \
			"$(grep -c 'another producer goes on' "$scratch/err")"
		check_match "round $round: the successor says where it goes on" \
			"going on after [1-9][0-9]* bytes" "$(cat "$scratch/err2")"
	done
done

# The consumer sleeps when the producer dies.
new_ring
head -c 100000 "$data" >"$scratch/short"
start "$consume" -t 20 --create --resume "$ring" >"$scratch/out" 2>"$scratch/err"
consumer=$pid
start "$produce" -q --chunk 1K --rate 20 "$ring" <"$scratch/short"
until_stat "$ring" "$consumed"
kill -KILL "$pid"
until_true grep -q "the producer died" "$scratch/err"
check "a sleeping consumer is told" 0 $?
"$produce" -q --seek-committed "$ring" <"$scratch/short"
finish "$consumer"
check "and goes on with the successor" 0 $?
check_same "with all that was sent" "$scratch/short" "$scratch/out"

# The input cannot be sought in.
new_ring
start "$consume" -q -t 20 --create --resume "$ring" >"$scratch/out"
consumer=$pid
start "$produce" -q --rate 400 "$ring" <"$data"
kill_producer "$pid" "$ring" 0
# shellcheck disable=SC2002
cat "$data" | "$produce" -q --seek-committed "$ring"
finish "$consumer"
check "a successor that reads a pipe: the consumer ends well" 0 $?
check_same "a successor that reads a pipe: the file is whole" "$data" "$scratch/out"

# Lines: records are counted.
seq 1 200000 >"$scratch/lines"
new_ring
start "$consume" -q -t 20 --create --resume --lines "$ring" >"$scratch/out"
consumer=$pid
start "$produce" -q --lines --rate 300k --batch 8 "$ring" <"$scratch/lines"
kill_producer "$pid" "$ring" 0
"$produce" -q --lines --seek-committed "$ring" <"$scratch/lines"
finish "$consumer"
check "lines: the consumer ends well" 0 $?
check_same "lines: all are there, once" "$scratch/lines" "$scratch/out"

for kind in spsc mpmc; do
	# A crash is not taken for the end of the stream.
	new_ring
	start "$produce" -q --create --kind $kind -g 0 --verify --rate 10k "$ring"
	producer=$pid
	start "$consume" -t 20 --verify --discard --summary "$scratch/summary" "$ring" 2>"$scratch/err"
	consumer=$pid
	until_stat "$ring" "$consumed"
	kill -KILL "$producer"
	finish "$consumer"
	check "$kind: a dead producer is exit code 8" 8 $?
	# Its count is one behind at worst, when it was killed between a commit and counting it.
	read=$(number "$scratch/summary" records) sent=$(records_in "$ring")
	check "$kind: all that it had committed has been read, $read of $sent" 1 \
		$((sent > 0 && (read == sent || read == sent + 1)))
	check_match "$kind: and the message says so" "the producer died before the end of its stream" \
		"$(cat "$scratch/err")"

	# The same the other way round.
	new_ring
	start "$consume" -q --create --kind $kind --discard "$ring"
	consumer=$pid
	start "$produce" -t 20 -g 0 "$ring" 2>"$scratch/err"
	producer=$pid
	until_stat "$ring" "$consumed"
	kill -KILL "$consumer"
	finish "$producer"
	check "$kind: a dead consumer is exit code 8" 8 $?
	check_match "$kind: and the message says so" "the consumer died" "$(cat "$scratch/err")"
done

# A consumer's successor begins with what the dead one had not given up: nothing is lost, and only
# what was being written comes twice.
seq 1 300000 >"$scratch/lines"
for round in 1 2 3 4; do
	new_ring
	start "$produce" -t 20 --create --ring-size 64K --resume --lines --rate 600k "$ring" \
		<"$scratch/lines" 2>"$scratch/err"
	producer=$pid
	start "$consume" -q --lines --batch 16 "$ring" >"$scratch/out1"
	until_stat "$ring" "$consumed"
	moment
	kill -KILL "$pid"
	finish "$pid"
	check "consumer round $round: the consumer was killed in mid-stream" 137 $?
	until_true grep -q "the consumer died; waiting for its successor" "$scratch/err"
	check "consumer round $round: the producer waits" 0 $?
	"$consume" -q -t 20 --lines "$ring" >"$scratch/out2"
	check "consumer round $round: the successor ends well" 0 $?
	finish "$producer"
	check "consumer round $round: the producer ends well" 0 $?
	check_match "consumer round $round: and says that it goes on" \
		"another consumer goes on" "$(cat "$scratch/err")"
	# The last line of the dead one may be half a line.
	[[ -s $scratch/out1 && -n $(tail -c 1 "$scratch/out1") ]] && sed -i '$d' "$scratch/out1"
	check "consumer round $round: no line is lost" "$(sha256sum <"$scratch/lines")" \
		"$(sort -nu "$scratch/out1" "$scratch/out2" | sha256sum)"
	twice=$(sort "$scratch/out1" "$scratch/out2" | uniq -d | wc -l)
	check "consumer round $round: at most one batch came twice ($twice lines)" 1 $((twice <= 16))
done
done_testing
