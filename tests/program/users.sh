#!/bin/bash
# SPDX-License-Identifier: MIT
# Other users and groups: what the mode of a ring lets them do, and who may take it away.
. "$(dirname "$0")/common.bash"
quoit=$bin/quoit

stranger=(setpriv --reuid 65534 --regid 65534 --clear-groups --)
member=(setpriv --reuid 65534 --regid 12345 --clear-groups --)
other_member=(setpriv --reuid 65533 --regid 12345 --clear-groups --)
if [[ $(id -u) != 0 ]] || ! "${stranger[@]}" "$consume" -V >/dev/null 2>&1; then
	echo "skipped: other users cannot be had here"
	done_testing
fi
key=$((0x54000000 + $$))
chmod 755 "$scratch"
for name in "shm:$tag-users" "sysv:$key" "file:$scratch/users"; do
	new_ring "$name"
	what=${name%%:*}
	"$quoit" create -q "$name" --size 64K
	ends_with 4 "$what 0600: a stranger cannot read" "${stranger[@]}" "$consume" -t 0.2 "$name"
	ends_with 4 "$what 0600: nor write" "${stranger[@]}" "$produce" -t 0.2 -g 1 "$name"
	ends_with 4 "$what 0600: nor look" "${stranger[@]}" "$quoit" dump "$name"
	ends_with 4 "$what 0600: nor remove" "${stranger[@]}" "$quoit" rm "$name"
	ends_with 4 "$what 0600: nor change its mode" "${stranger[@]}" "$quoit" chmod 0666 "$name"

	"$quoit" chown "0:12345" "$name"
	"$quoit" chmod 0640 "$name"
	ends_with 4 "$what 0640: the group cannot take part" "${member[@]}" "$consume" -t 0.2 "$name"
	ends_with 0 "$what 0640: but look" "${member[@]}" "$quoit" stat "$name"
	ends_with 4 "$what 0640: a stranger cannot" "${stranger[@]}" "$quoit" stat "$name"

	"$quoit" chmod 0660 "$name"
	for wait in futex sem eventfd; do
		echo "by $wait" | "${member[@]}" "$produce" -q --lines --wait $wait -t 5 "$name"
		check "$what 0660: the group writes, $wait" 0 $?
		"${other_member[@]}" "$consume" -q --lines --wait $wait -t 5 "$name" >"$scratch/out"
		check "$what 0660: and reads, $wait" "0 by $wait" "$? $(cat "$scratch/out")"
	done
	# A dead one of another user is cleaned up after by whoever comes.
	start "${member[@]}" "$produce" -q -g 0 -t 20 "$name"
	victim=$pid
	until_stat "$name" "$produced"
	until_true sh -c "'$quoit' dump --records -n '$name' | grep -q ready"
	kill -KILL "$victim"
	finish "$victim"
	"${other_member[@]}" "$consume" -q --discard -t 5 "$name" 2>"$scratch/err"
	check "$what 0660: a death is told to another user" 8 $?
	ends_with 4 "$what 0660: who may write may not remove" "${member[@]}" "$quoit" rm "$name"
	echo after | "${member[@]}" "$produce" -q --lines -t 5 "$name"
	check "$what 0660: and has not harmed it by trying" after \
		"$("${other_member[@]}" "$consume" -q --lines -t 5 "$name")"
	ends_with 0 "$what: its owner may" "$quoit" rm "$name"
done
done_testing
