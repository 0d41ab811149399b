#!/bin/bash
# SPDX-License-Identifier: MIT
# quoit dump, tail, stat and peers: what is in a ring, also in a copy, and in a damaged one.
. "$(dirname "$0")/common.bash"
quoit=$bin/quoit

file_of() { # the file behind a shm ring
	echo "/dev/shm/quoit.${1#shm:}"
}

for kind in spsc mpmc; do
	new_ring
	"$quoit" create -q "$ring" --kind $kind --size 64K
	printf 'first\nsecond\nthird\x01\n' | "$produce" -q --lines -T 77 "$ring"

	check "$kind: dump shows each record" 3 "$("$quoit" dump --records -n "$ring" | grep -c ' ready ')"
	check_match "$kind: position, type, length, payload" "^ +0 +ready +77 +5 .* first$" \
		"$("$quoit" dump --records -n --limit 1 "$ring")"
	check_match "$kind: control characters are escaped" 'third\\x01' "$("$quoit" dump --records "$ring")"
	check_match "$kind: in hexadecimal on demand" '73 65 63 6f +6e 64 +\|second\||73 65 63 6f 6e 64' \
		"$("$quoit" dump --records -x "$ring")"
	check "$kind: as JSON, a line each" 3 "$("$quoit" dump --records -J "$ring" |
		grep -c '^{"schema":1,"object":"record",.*"type":77')"
	check_match "$kind: the whole: header" "kind +$kind" "$("$quoit" dump "$ring")"
	check_match "$kind: counters" "records +3 +0" "$("$quoit" dump --header "$ring")"
	check "$kind: --header has no records" 0 "$("$quoit" dump --header "$ring" | grep -c ready)"
	check "$kind: a good ring is exit code 0" 0 "$("$quoit" dump "$ring" >/dev/null; echo $?)"

	check "$kind: tail shows the last" "second third" "$("$quoit" tail --raw -n 2 "$ring" |
		tr -d '\001' | sed 's/d/d /')"
	check "$kind: tail -n 0 shows none" "" "$("$quoit" tail -n 0 --no-header "$ring")"
	check_match "$kind: stat has the counters" "bytes +17 +0" "$("$quoit" stat "$ring")"
	check_match "$kind: stat -J too" '"produced":\{"records":3,"bytes":17,' "$("$quoit" stat -J "$ring")"
	check "$kind: stat -i -c: a header and two lines" 3 "$("$quoit" stat -i 0.01 -c 2 "$ring" | wc -l)"
	check "$kind: QUOIT_RING is the default" 3 "$(QUOIT_RING=$ring "$quoit" dump --records -n | wc -l)"

	# A copy, somewhere else; then cut off; then damaged.
	cp "$(file_of "$ring")" "$scratch/copy"
	check "$kind: a copy dumps alike" "$("$quoit" dump --records "$ring")" \
		"$("$quoit" dump --records "$scratch/copy")"
	check "$kind: image: names a file in the working folder" 3 \
		"$(cd "$scratch" && "$quoit" dump --records -n image:copy | wc -l)"
	check "$kind: a copy is clean" 0 "$("$quoit" check -q "$scratch/copy"; echo $?)"
	head -c 3000 "$scratch/copy" >"$scratch/short"
	check "$kind: a cut off copy is corrupt" 6 "$("$quoit" dump "$scratch/short" >/dev/null 2>&1; echo $?)"
	check_match "$kind: and says so" "cut off: 3000 of" "$("$quoit" check "$scratch/short")"
	check_match "$kind: its header is shown" "kind +$kind" "$("$quoit" dump "$scratch/short" 2>/dev/null)"
	cp "$scratch/copy" "$scratch/bad"
	printf '\xff' | dd of="$scratch/bad" bs=1 seek=60 conv=notrunc status=none
	check "$kind: a damaged header is corrupt" 6 "$("$quoit" check -q "$scratch/bad" >/dev/null; echo $?)"
	check "$kind: but its records are shown" 3 \
		"$("$quoit" dump --records -n "$scratch/bad" 2>/dev/null | grep -c ' ready ')"
	check_match "$kind: and what is wrong" "corrupt at 0x.*: header: " \
		"$("$quoit" dump --records "$scratch/bad" 2>&1 >/dev/null)"
	check_match "$kind: in JSON, too" '"object":"problem",.*"severity":"corrupt"' \
		"$("$quoit" check -J "$scratch/bad")"
	: >"$scratch/empty"
	check "$kind: an empty file is no ring" 5 "$("$quoit" dump "$scratch/empty" 2>/dev/null; echo $?)"
	seq 100000 >"$scratch/text"
	check "$kind: nor is a text" 5 "$("$quoit" check "$scratch/text" 2>/dev/null; echo $?)"

	# tail -f sees what comes, and ends when the ring goes.
	start "$quoit" tail -f -n 1 --raw "$ring" >"$scratch/followed" 2>/dev/null
	follower=$pid
	until_true grep -q third "$scratch/followed"
	printf 'fourth\nfifth\n' | "$produce" -q --lines "$ring"
	until_true grep -q fifth "$scratch/followed"
	check "$kind: tail -f goes on" "fourthfifth" "$(tr -d '\001' <"$scratch/followed" | sed 's/^third//')"
	check "$kind: nothing was taken" 5 "$("$quoit" dump --records -n "$ring" | grep -c ' ready ')"
	"$quoit" rm "$ring"
	finish "$follower"
	check "$kind: tail -f ends with the ring" 3 $?
done

# A stream with payloads that are no text.
new_ring
"$quoit" create -q "$ring"
printf '\xff\x00\xfe' | "$produce" -q --fixed 3 "$ring"
check_match "bytes that are no UTF-8 are hexadecimal in JSON" '"hex":"ff00fe"' "$("$quoit" tail -J "$ring")"

# Peers that are there.
new_ring
"$quoit" create -q "$ring" --kind mpmc --persistent
for i in 1 2; do
	start "$consume" -q "$ring" >/dev/null
	consumers[i]=$pid
done
# The ring is looked at every time anew.
peers_are() { [[ $("$quoit" peers -n "$ring" | grep -c "$1") == "$2" ]]; }
until_true peers_are "consumer .* alive" 2
check "peers: both consumers are alive" 2 "$("$quoit" peers -n "$ring" | grep -c "consumer .* alive")"
check "peers: as JSON" 2 "$("$quoit" peers -J "$ring" | grep -c '^{"schema":1,"object":"peer",.*"state":"alive"')"
kill -STOP "${consumers[1]}"
until_true peers_are " stopped " 1
check "peers: one is stopped" 1 "$("$quoit" peers -n "$ring" | grep -c "${consumers[1]} .* stopped")"
kill -CONT "${consumers[1]}"
until_true peers_are " alive " 2
check "peers: and goes on" 2 "$("$quoit" peers -n "$ring" | grep -c " alive ")"
done_testing
