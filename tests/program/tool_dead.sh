#!/bin/bash
# SPDX-License-Identifier: MIT
# quoit and the dead: seen, cleaned up after, removed only when nobody is left.
. "$(dirname "$0")/common.bash"
quoit=$bin/quoit

canonical() { # the canonical name
	"$quoit" info -J "$1" | sed 's/.*"name":"\([^"]*\)".*/\1/'
}

key=$((0x52000000 + $$))
for kind in spsc mpmc; do
	for name in "shm:$tag-$kind" "sysv:$key" "file:$scratch/$kind"; do
		new_ring "$name"
		what="$kind $name"
		"$quoit" create -q "$name" --kind $kind --size 64K
		mkfifo "$scratch/fifo"
		exec 9<>"$scratch/fifo" # waits for no other end
		start "$produce" -q --lines "$name" <"$scratch/fifo" 9>&-
		producer=$pid
		echo hello >&9
		# Only the producer opens it, so what it commits stays there.
		until_true sh -c "'$quoit' dump --records -n '$name' | grep -q hello"
		check "$what: a living producer is nothing to repair" "$name: nothing to repair" \
			"$("$quoit" repair "$name")"
		check "$what: --stale spares what is in use" 1 "$("$quoit" rm --stale "$name" 2>/dev/null; echo $?)"
		check "$what: it is still there" 0 "$("$quoit" info "$name" >/dev/null; echo $?)"
		kill -KILL "$producer"
		finish "$producer" 2>/dev/null
		exec 9>&-
		rm "$scratch/fifo"

		check "$what: peers: dead" 1 "$("$quoit" peers -n "$name" | grep -c "producer .* dead ")"
		[[ $name == file:* ]] ||
			check_match "$what: ls: stale" " open,stale,dead " \
				"$("$quoit" ls --stale -n | grep -F "$(canonical "$name") ")"
		check_match "$what: check says what is wrong" "repairable at .*: peer 0: the producer of pid $producer died" \
			"$("$quoit" check "$name")"
		check "$what: and that it can be mended" 1 "$("$quoit" check "$name" >/dev/null; echo $?)"
		check_match "$what: a dry run says what it would do" "to be cleaned up after.*can be repaired" \
			"$("$quoit" repair --dry-run "$name" | tr '\n' ' ')"
		check "$what: and does nothing" 1 "$("$quoit" check "$name" >/dev/null; echo $?)"
		check_match "$what: repair" "peer 0: .* cleaned up after.*: repaired" \
			"$("$quoit" repair "$name" | tr '\n' ' ')"
		check "$what: then it is clean" "$name: clean" "$("$quoit" check "$name")"
		check "$what: a second time there is nothing to do" "$name: nothing to repair" \
			"$("$quoit" repair "$name")"
		check "$what: the record is still there" 1 \
			"$("$quoit" dump --records -n "$name" | grep -c 'ready .*hello')"
		check_match "$what: the death is counted" '"state":"broken",.*"producer_deaths":1' \
			"$("$quoit" stat -J "$name")"

		check_match "$what: rm --stale --dry-run" "to be removed" "$("$quoit" rm --stale -d "$name")"
		check_match "$what: rm --stale" "$name: removed" "$("$quoit" rm --stale "$name")"
		check "$what: it is gone" 3 "$("$quoit" info "$name" 2>/dev/null; echo $?)"
	done
done

# Somebody who has it open, but no endpoint yet, keeps it from being stale.
new_ring
"$quoit" create -q "$ring"
echo x | "$produce" -q "$ring"
start "$bin/quoit" tail -f "$ring" >/dev/null 2>&1
watcher=$pid
until_true grep -q "quoit.${ring#shm:}" "/proc/$watcher/maps"
check "rm --stale spares a ring that is only looked at" 1 "$("$quoit" rm --stale "$ring" 2>/dev/null; echo $?)"
kill "$watcher"
finish "$watcher"
check "until nobody does any more" 0 "$("$quoit" rm --stale "$ring" >/dev/null; echo $?)"
done_testing
