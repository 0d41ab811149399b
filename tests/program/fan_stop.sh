#!/bin/bash
# SPDX-License-Identifier: MIT
# SIGTERM to a consumer of many rings: what they hold at that moment is still written.
. "$(dirname "$0")/common.bash"

# One ring is fed all the time, and output is slow.
three_rings
seq 100001 101000 | "$produce" -q --create --lines "${names[1]}"
start "$produce" -q --create -g 0 "${names[0]}"
flood=$pid
until_stat "${names[0]}" "$produced"
mkfifo "$scratch/slow"
exec 8<>"$scratch/slow" # or opening one end waits for the other
start sh -c 'sleep 0.4; exec cat' <"$scratch/slow" >"$scratch/out"
reader=$pid
start "$consume" -q --remove --lines "${names[@]:0:2}" >"$scratch/slow"
consumer=$pid
exec 8>&-
until_stat "${names[1]}" '"consumers":1'
kill -TERM "$consumer"
finish "$consumer"
check "SIGTERM" 143 $?
finish "$reader"
check_same "all that was in the other ring has come" \
	<(grep -ax '10[0-9]\{4\}' "$scratch/out") <(seq 100001 101000)
"$bin/quoit" info "${names[1]}" >/dev/null 2>&1
check "--remove is for streams that have ended" 0 $?
finish "$flood"

# A producer has committed, and was stopped before it could say so: the set finds it when it looks
# at all its rings. It does so every 50 ms, so this is tried more than once.
three_rings
"$bin/quoit" create -q --persistent "${names[0]}"
"$bin/quoit" create -q --persistent "${names[1]}"
for i in 1 2 3; do
	start "$consume" -q --lines "${names[@]:0:2}" >"$scratch/out"
	consumer=$pid
	until_stat "${names[1]}" '"consumers":1'
	sleep 0.1 # it goes to sleep
	"$bin/../tests/bin/program_unmarked" "${names[0]}" "record $i" "$consumer"
	finish "$consumer"
	check "SIGTERM right after a commit" 143 $?
	check "the set has not been told of it, and it is written" "record $i" "$(cat "$scratch/out")"
done
done_testing
