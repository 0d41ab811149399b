#!/bin/bash
# SPDX-License-Identifier: MIT
# The examples of the documentation do what they say.
. "$(dirname "$0")/common.bash"

hello=$bin/examples/hello
epoll=$bin/examples/epoll
if [[ ! -x $hello || ! -x $epoll ]]; then
	echo "FAILED: examples are not built"
	exit 1
fi

# hello uses a ring of that name: not if somebody else has one.
if "$bin/quoit" info hello >/dev/null 2>&1; then
	echo "skipped: there is a ring named hello"
else
	new_ring hello
	"$hello" sent first
	check "hello sends" 0 $?
	start "$hello" >"$scratch/out"
	finish "$pid"
	check "hello receives what was sent before" 0 $?
	check "in order" "sent first" "$(paste -sd ' ' "$scratch/out")"
	start "$hello" >"$scratch/out"
	receiver=$pid
	sleep 0.2
	"$hello" sent later
	finish "$receiver"
	check "hello waits for a sender" 0 $?
	check "and gets all" "sent later" "$(paste -sd ' ' "$scratch/out")"
fi

# epoll: a ring and standard input in one loop, with a producer that is no relative.
mkfifo "$scratch/fifo" "$scratch/records"
exec 9<>"$scratch/fifo" 8<>"$scratch/records"
new_ring
start "$epoll" "$ring" <"$scratch/fifo" >"$scratch/out"
watcher=$pid
until_true test -e "/dev/shm/quoit.${ring#shm:}"
start setsid "$produce" -q -t 20 --lines "$ring" <"$scratch/records"
producer=$pid
for i in 1 2 3; do
	echo "record $i" >&8
	until_true grep -q "ring: record $i" "$scratch/out"
	check "record $i arrives" 0 $?
	echo "typed $i" >&9
	until_true grep -q "stdin: typed $i" "$scratch/out"
	check "input $i arrives" 0 $?
	sleep 0.2 # asleep in epoll_wait() again
done
exec 8>&-
finish "$producer"
check "the producer ends well" 0 $?
exec 9>&-
finish "$watcher"
check "the loop ends with both" 0 $?
check "nothing is missing" 6 "$(wc -l <"$scratch/out")"
done_testing
