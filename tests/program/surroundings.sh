#!/bin/bash
# SPDX-License-Identifier: MIT
# Hostile and unlucky surroundings: rings that are cut off or punched while programs and tools are
# at work on them, names that others have taken.
. "$(dirname "$0")/common.bash"
quoit=$bin/quoit

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
done_testing
