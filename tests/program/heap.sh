#!/bin/bash
# SPDX-License-Identifier: MIT
# Rings with a heap: what the tools show of it, and options that do not fit.
. "$(dirname "$0")/common.bash"
quoit=$bin/quoit

# ---- what is shown ---------------------------------------------------------------------------

shown() { # what quoit info says of the heap's use
	"$quoit" info "$1" | sed -n 's/^heap use  *//p'
}
heap() { # the heap object in the JSON of a command
	"$quoit" "$@" -J | grep -o '"heap":{[^}]*}' | sed 's/"heap"://'
}

for kind in spsc mpmc; do
	new_ring
	"$quoit" create -q "$ring" --kind $kind --size 64K --heap 1M
	check "$kind: an empty heap" "0B used, 1M free (0% fragmented), 0B orphaned" "$(shown "$ring")"
	"$produce" -q --fixed 64K "$ring" < <(head -c 192K /dev/zero)
	check "$kind: info: what a producer left" \
		"0B used, 832K free (0% fragmented), 192K orphaned" "$(shown "$ring")"
	figures='{"total":1048576,"used":0,"free":851968,"largest_free":851968,"orphaned":196608,"unit":65536,"fragmented_percent":0.0}'
	check "$kind: the same in JSON" "$figures" "$(heap info "$ring")"
	check "$kind: stat" "$figures" "$(heap stat "$ring")"
	check "$kind: stat at intervals" "$figures" "$(heap stat -c 1 -i 1 "$ring")"
	check_match "$kind: with a column" " DEATHS HEAP% .* 19 $" \
		"$("$quoit" stat -c 1 -i 1 "$ring" | tr -s '\n' ' ')"
	check_match "$kind: stat as text" "orphaned +196608 +19 " "$("$quoit" stat "$ring")"
	check "$kind: check" "$figures" "$(heap check "$ring")"
	check "$kind: check -v" "$ring: heap: 0B used, 832K free (0% fragmented), 192K orphaned" \
		"$("$quoit" check -v "$ring" | grep "heap: .* used")"
	check_match "$kind: and the note" "heap: 3 units are orphaned" "$("$quoit" check -v "$ring")"
	check "$kind: dump" 2 "$("$quoit" dump -J "$ring" | grep -c "\"heap\":$figures")"
	check "$kind: and where the records lie" 3 "$("$quoit" dump --records -J "$ring" | grep -c '"heap_offset":')"
	check "$kind: nothing to repair while they are there" "$ring: nothing to repair" \
		"$("$quoit" repair "$ring")"

	# What has been read stays orphaned until somebody sweeps.
	"$consume" -q --discard --count 2 "$ring"
	check "$kind: what has been read is still orphaned" \
		"0B used, 832K free (0% fragmented), 192K orphaned" "$(shown "$ring")"
	check_match "$kind: repair --dry-run" "2 orphaned units of the heap, .*: to be freed" \
		"$("$quoit" repair -d "$ring")"
	check_match "$kind: repair" "2 orphaned units of the heap, .*: freed" "$("$quoit" repair "$ring")"
	check "$kind: and the rest is in two pieces" \
		"0B used, 960K free (13% fragmented), 64K orphaned" "$(shown "$ring")"
	"$consume" -q --discard "$ring"
	check_match "$kind: repair tells what is left" '"verdict":"repaired",.*"heap":\{"total":1048576,"used":0,"free":1048576,' \
		"$("$quoit" repair -J "$ring")"
	check "$kind: nothing" "0B used, 1M free (0% fragmented), 0B orphaned" "$(shown "$ring")"

	# A living producer.
	mkfifo "$scratch/fifo"
	exec 9<>"$scratch/fifo"
	start "$produce" -q --fixed 64K "$ring" <"$scratch/fifo"
	producer=$pid
	head -c 64K /dev/zero >&9
	until_stat "$ring" '"produced":\{"records":4'
	check_match "$kind: what a producer has is used" "[1-9][0-9]*K used, .* 0B orphaned" "$(shown "$ring")"
	exec 9>&-
	finish "$producer"
	rm "$scratch/fifo"
done
new_ring
"$quoit" create -q "$ring"
check "a ring without a heap says nothing of it" "" "$("$quoit" info "$ring" | grep "^heap"; shown "$ring"; heap info "$ring")"

# ---- options that do not fit -----------------------------------------------------------------

new_ring
# refuse STATUS REGEX OPTION...: by all three programs
refuse() {
	local want=$1 regex=$2 text
	shift 2
	text=$("$quoit" create "$ring" "${@/--ring-size/--size}" 2>&1)
	check "create $*: exit code" "$want" $?
	check_match "create $*: message" "$regex" "$text"
	for program in "$produce" "$consume"; do
		text=$("$program" -t 1 --create "$@" "$ring" 2>&1 </dev/null)
		check "${program##*/} $*: exit code" "$want" $?
		check_match "${program##*/} $*: message" "$regex" "$text"
	done
	check "and nothing is made" 3 "$("$quoit" info "$ring" 2>/dev/null; echo $?)"
}
refuse 2 "--heap 65536 is less than the 8388592 bytes that the ring itself takes .* larger" \
	--ring-size 16M --heap 64K
refuse 2 "--heap-share 104857600: the ring itself takes 524272 bytes at most; make the share smaller" \
	--heap 1G --heap-share 100M
refuse 2 "--heap 65536 takes no record longer than --heap-share 102400" --heap 64K --heap-share 100K
refuse 2 "--heap 65536 takes no record that a slot of 1048576 bytes does not" \
	--kind mpmc --slot-size 1M --heap 64K
refuse 2 "--heap-share is for --kind spsc with a --heap" --heap-share 1K
refuse 2 "--heap-share is for --kind spsc with a --heap" --kind mpmc --heap 1M --heap-share 1K
done_testing
