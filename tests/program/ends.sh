#!/bin/bash
# SPDX-License-Identifier: MIT
# Streams that end early: the reader leaves, a signal comes.
. "$(dirname "$0")/common.bash"

for kind in spsc mpmc; do
	# head leaves after one line: the consumer ends by SIGPIPE, and the producer with it.
	new_ring
	start "$produce" -t 20 --create --kind $kind --lines "$ring" < <(yes a line of text) \
		2>"$scratch/err"
	producer=$pid
	"$consume" -q -t 20 --lines "$ring" | head -n 1 >"$scratch/out"
	check "$kind: consumer ends as by SIGPIPE when its reader has left" 141 "${PIPESTATUS[0]}"
	finish "$producer"
	check "$kind: and so does the producer" 141 $?
	check "$kind: the reader got its line" "a line of text" "$(cat "$scratch/out")"
	check_match "$kind: the producer says why" "the consumer has closed; stopped after [0-9]+ records" \
		"$(cat "$scratch/err")"

	# The consumer has had enough.
	new_ring
	start "$produce" -q -t 20 --create --kind $kind -g 0 "$ring"
	producer=$pid
	"$consume" -q -t 20 --discard --count 1000 --summary "$scratch/sum" "$ring"
	check "$kind: --count is a good end for the consumer" 0 $?
	check "$kind: --count counts" 1000 "$(number "$scratch/sum" records)"
	finish "$producer"
	check "$kind: and EPIPE for the producer" 141 $?

	# A producer that waits for its input hears of it as well.
	new_ring
	mkfifo "$scratch/fifo-$kind"
	exec 9<>"$scratch/fifo-$kind"
	start "$produce" -q -t 20 --create --kind $kind --lines "$ring" <"$scratch/fifo-$kind"
	producer=$pid
	printf '1\n2\n3\n' >&9
	"$consume" -q -t 20 --lines --count 1 "$ring" >"$scratch/out"
	finish "$producer"
	check "$kind: EPIPE reaches a producer that waits for input" 141 $?
	exec 9>&-
done

# SIGINT: both sides stop at once, print the summary, and die of it.
new_ring
start "$produce" -t 20 --create -g 0 --rate 1k "$ring" 2>"$scratch/err"
producer=$pid
start "$consume" -t 20 --discard "$ring" 2>"$scratch/err2"
consumer=$pid
until_stat "$ring" "$consumed"
kill -INT "$producer"
finish "$producer"
check "SIGINT ends the producer" 130 $?
check_match "with a summary" "[1-9][0-9]* bytes in [1-9][0-9]* records" "$(cat "$scratch/err")"
finish "$consumer"
check "the consumer sees the end of the stream" 0 $?

new_ring
start "$consume" -t 20 --create "$ring" 2>"$scratch/err"
consumer=$pid
until_stat "$ring" '"consumers":1'
sleep 0.1
kill -INT "$consumer"
finish "$consumer"
check "SIGINT ends a waiting consumer" 130 $?
check_match "with a summary" "0 bytes in 0 records" "$(cat "$scratch/err")"

# SIGTERM: the producer stops reading and waits until all is taken.
new_ring
mkfifo "$scratch/fifo"
exec 9<>"$scratch/fifo"
start "$produce" -q --create --lines --drain 10 "$ring" <"$scratch/fifo"
producer=$pid
seq 1 1000 >&9
until_stat "$ring" '"produced":\{"records":1000,'
kill -TERM "$producer"
sleep 0.2
check "after SIGTERM the producer waits for the consumer" 1 "$(kill -0 "$producer" && echo 1)"
"$consume" -q -t 20 --lines "$ring" >"$scratch/out"
check "the consumer sees the end of the stream" 0 $?
check_same "all that was read arrives" <(seq 1 1000) "$scratch/out"
finish "$producer"
check "SIGTERM ends the producer" 143 $?
exec 9>&-

new_ring
start "$produce" -q --create --drain 0.2 -g 100 "$ring"
finish "$pid"
start "$produce" --drain 0.2 -g 0 "$ring" 2>"$scratch/err"
producer=$pid
until_stat "$ring" '"producers":1'
sleep 0.1
kill -TERM "$producer"
finish "$producer"
check "without a consumer it waits as long as --drain says" 143 $?
check_match "and says so" "not everything was taken" "$(cat "$scratch/err")"

# SIGTERM: the consumer takes what is there, though a busy producer goes on.
new_ring
start "$produce" -q -t 20 --create -g 0 -s 100 "$ring"
producer=$pid
start "$consume" -q -t 20 --discard "$ring"
consumer=$pid
until_stat "$ring" "$consumed"
kill -TERM "$consumer"
finish "$consumer"
check "SIGTERM ends a busy consumer" 143 $?
finish "$producer"
check "whose producer gets EPIPE" 141 $?
done_testing
