#!/bin/bash
# SPDX-License-Identifier: MIT
# Hostile and unlucky surroundings: rings that are cut off or punched while programs and tools are
# at work on them, names that others have taken, other users and groups.
. "$(dirname "$0")/common.bash"
quoit=$bin/quoit

# ends_with STATUS WHAT COMMAND...: within 10 s, with one line on standard error and no core.
ends_with() {
	local want=$1 what=$2 status
	shift 2
	timeout 10 "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
	status=$?
	check "$what: exit code" "$want" $status
}

# ---- a file that is cut off, or punched ----------------------------------------------------------

hole() { fallocate --punch-hole --offset "$2" --length "$3" "$1"; }
path_of() { [[ $1 == shm:* ]] && echo "/dev/shm/quoit.${1#shm:}" || echo "${1#file:}"; }
harms=("truncate -s 0" "truncate -s 4096" "hole 0 4096")
harm() { # harm HOW FILE
	case $1 in
	hole*) hole "$2" 0 4096 ;;
	*) $1 "$2" ;;
	esac
}

n=0
for kind in spsc mpmc; do
	for how in "${harms[@]}"; do
		# Each kind with both in turn.
		name=$( ((++n % 2)) && echo "shm:$tag-cut$n" || echo "file:$scratch/cut$n")
		new_ring "$name"
		file=$(path_of "$ring")
		what="$kind ${ring%%:*}, $how"
		# Both at work.
		"$quoit" create -q "$ring" --kind $kind --size 256K
		start "$produce" -q --generate 0 --size 32-200 --verify "$ring" 2>"$scratch/err1"
		producer=$pid
		start "$consume" -q --discard --verify "$ring" 2>"$scratch/err2"
		consumer=$pid
		until_stat "$ring" "$consumed"
		harm "$how" "$file"
		finish "$producer"
		check "$what: a busy producer ends with 6" 6 $?
		finish "$consumer"
		check "$what: a busy consumer ends with 6" 6 $?
		check_match "$what: and says why" "$ring: cannot .*corrupt" "$(cat "$scratch/err1")"
		check_match "$what: so does the consumer" "$ring: cannot .*corrupt" "$(cat "$scratch/err2")"
		rm -f "$file"

		# Both asleep: one finds nothing, one no room.
		"$quoit" create -q "$ring" --kind $kind --size 64K
		start "$consume" -q --discard "$ring" 2>"$scratch/err2"
		consumer=$pid
		until_stat "$ring" '"consumers":1'
		harm "$how" "$file"
		finish "$consumer"
		check "$what: a sleeping consumer ends with 6" 6 $?
		rm -f "$file"
		"$quoit" create -q "$ring" --kind $kind --size 64K
		start "$produce" -q --generate 0 "$ring" 2>"$scratch/err1"
		producer=$pid
		until_stat "$ring" '"full":[1-9]'
		harm "$how" "$file"
		finish "$producer"
		check "$what: a sleeping producer ends with 6" 6 $?
		rm -f "$file"
	done
done

# To standard output straight from the ring, where the kernel is the one that finds nothing.
new_ring "file:$scratch/large"
"$quoit" create -q "$ring" --size 32M
head -c 12000000 /dev/urandom | "$produce" -q "$ring"
mkfifo "$scratch/fifo"
exec 9<>"$scratch/fifo"
start "$consume" -q "$ring" >"$scratch/fifo" 2>"$scratch/err" 9>&-
consumer=$pid
head -c 200000 <&9 >/dev/null
truncate -s 0 "$scratch/large"
head -c 100000000 <&9 >/dev/null &
reader=$!
finish "$consumer"
check "a consumer that writes from the ring ends with 6" 6 $?
check_match "and says why" "$ring: cannot .*corrupt" "$(cat "$scratch/err")"
exec 9>&-
kill "$reader"
wait "$reader" 2>/dev/null
rm -f "$scratch/fifo" "$scratch/large"

# Observers; the watcher has the ring mapped when it is cut off.
for kind in spsc mpmc; do
	new_ring "file:$scratch/watched-$kind"
	"$quoit" create -q "$ring" --kind $kind --size 64K
	seq 20 | "$produce" -q --lines "$ring"
	start "$quoit" tail -f "$ring" >"$scratch/out" 2>"$scratch/err"
	watcher=$pid
	until_true grep -q 20 "$scratch/out"
	truncate -s 8192 "$scratch/watched-$kind"
	: >"$scratch/watched-$kind"
	finish "$watcher"
	check "$kind: tail -f of a ring that is cut off ends with 6" 6 $?
	check "$kind: and says so in a line" 1 "$(wc -l <"$scratch/err")"
	start "$quoit" stat -i 0.05 "$ring" >"$scratch/out" 2>"$scratch/err"
	finish "$pid"
	check "$kind: what is left is no ring" 5 $?
done

# ---- names that others have taken ---------------------------------------------------------------

echo precious >"$scratch/precious"
shm=/dev/shm/quoit.$tag-squat
files+=("$shm")
squat() { # squat WHAT: by a symbolic link, a FIFO, a folder, a file
	rm -rf "$shm"
	case $1 in
	link) ln -s "$scratch/precious" "$shm" ;;
	dangling) ln -s "$scratch/none" "$shm" ;;
	fifo) mkfifo "$shm" ;;
	folder) mkdir "$shm" ;;
	file) echo strange >"$shm" ;;
	esac
}
for what in link dangling fifo folder file; do
	squat $what
	ends_with 1 "$what in the way: create" "$quoit" create "shm:$tag-squat"
	check_match "$what in the way: says so" "exists" "$(cat "$scratch/err")"
	ends_with 5 "$what in the way: attach" "$consume" -t 0.2 "shm:$tag-squat"
	ends_with 5 "$what in the way: info" "$quoit" info "shm:$tag-squat"
	# Only files have a name that could be a ring's, and what is left of one.
	[[ $what == file ]] || ends_with 5 "$what in the way: rm" "$quoit" rm "shm:$tag-squat"
	check "$what in the way: nothing was made or lost elsewhere" "precious " \
		"$(cat "$scratch/precious") $([[ -e $scratch/none ]] && echo made)"
done
rm -rf "$shm"

# ---- other users and groups ---------------------------------------------------------------------

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
	echo after | "${member[@]}" "$produce" -q --lines "$name"
	check "$what 0660: and has not harmed it by trying" after \
		"$("${other_member[@]}" "$consume" -q --lines -t 5 "$name")"
	ends_with 0 "$what: its owner may" "$quoit" rm "$name"
done
done_testing
