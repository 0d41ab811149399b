#!/bin/bash
# SPDX-License-Identifier: MIT
# Looking does no harm: no byte changes, no peer notices, no record is lost.
. "$(dirname "$0")/common.bash"
quoit=$bin/quoit

look() { # every way to look at a ring
	"$quoit" info "$1"
	"$quoit" stat "$1"
	"$quoit" stat -i 0.01 -c 3 "$1"
	"$quoit" peers "$1"
	"$quoit" dump -x "$1"
	"$quoit" tail -n 100 "$1"
	"$quoit" check "$1"
	"$quoit" ls
}

has_two_peers() {
	(($("$quoit" peers -n "$1" | wc -l) == 2))
}

for kind in spsc mpmc; do
	# At rest: not a byte changes.
	new_ring
	"$quoit" create -q "$ring" --kind $kind --size 64K
	seq 50 | "$produce" -q --lines "$ring"
	file=/dev/shm/quoit.${ring#shm:}
	before=$(sha256sum <"$file")
	look "$ring" >/dev/null
	check "$kind at rest: not a byte has changed" "$before" "$(sha256sum <"$file")"

	# The mapping itself forbids it.
	start "$quoit" tail -f "$ring" >/dev/null
	watcher=$pid
	until_true grep -q "quoit.${ring#shm:}" "/proc/$watcher/maps"
	check "$kind: mapped read-only" "r--s" \
		"$(sed -n "s/^[^ ]* \([^ ]*\) .*quoit\.${ring#shm:}.*/\1/p" "/proc/$watcher/maps" | sort -u)"
	kill "$watcher"
	finish "$watcher"

	# Under load: everything arrives, once, and the observers are nowhere in the figures.
	new_ring
	"$quoit" create -q "$ring" --kind $kind --size 256K
	start "$produce" -q -t 20 --generate 0 --size 32-200 --verify --summary "$scratch/produced" "$ring"
	producer=$pid
	start "$consume" -q -t 20 --discard --verify --summary "$scratch/consumed" "$ring"
	consumer=$pid
	until_true has_two_peers "$ring"
	start timeout 2 "$quoit" tail -f "$ring" >/dev/null 2>&1
	tail_f=$pid
	for ((i = 0; i < 4; i++)); do
		look "$ring" >"$scratch/seen" 2>/dev/null
		check "$kind under load: clean" 1 "$(grep -c ": clean$" "$scratch/seen")"
		check "$kind under load: two peers, none of them an observer" 2 \
			"$("$quoit" peers -n "$ring" | wc -l)"
	done
	finish "$tail_f"
	kill -TERM "$producer"
	finish "$producer"
	finish "$consumer"
	check "$kind under load: every record arrived whole, in order, once" 0 $?
	check "$kind under load: as many as were sent" "$(number "$scratch/produced" records)" \
		"$(number "$scratch/consumed" records)"
	check "$kind under load: which is what the ring has counted" "$(number "$scratch/produced" records)" \
		"$("$quoit" stat -J "$ring" | sed 's/.*"produced":{"records":\([0-9]*\).*/\1/')"
done
done_testing
