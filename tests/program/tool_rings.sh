#!/bin/bash
# SPDX-License-Identifier: MIT
# quoit: rings come, are seen, are changed and go, whatever they are made of.
. "$(dirname "$0")/common.bash"
quoit=$bin/quoit

# field NAME FIELD: of quoit info, as JSON
field() {
	"$quoit" info -J "$1" | sed -n "s/.*\"$2\":\"\{0,1\}\([^,\"}]*\).*/\1/p"
}

key=$((0x51000000 + $$))
for name in "shm:$tag-a" "$tag-b" "sysv:$key" "file:$scratch/ring"; do
	for kind in spsc mpmc; do
		new_ring "$name"
		what="$kind $name"
		made=$("$quoit" create "$name" --kind $kind --size 64K --mode 0640 --wait sem)
		check "$what: create" 0 $?
		check_match "$what: create says the name" "^(shm|sysv|file):" "$made"
		check "$what: a second one is refused" 1 \
			"$("$quoit" create "$name" 2>/dev/null; echo $?)"
		check "$what: kind" $kind "$(field "$name" kind)"
		check "$what: wait" sem "$(field "$name" wait)"
		check "$what: mode" 0640 "$(field "$name" mode)"
		check "$what: name" "$made" "$(field "$name" name)"
		check_match "$what: info is a table as well" "kind +$kind" "$("$quoit" info "$name")"
		check "$what: chmod" 0 "$("$quoit" chmod 604 "$name"; echo $?)"
		check "$what: mode is changed" 0604 "$(field "$name" mode)"
		if [[ $(id -u) == 0 ]]; then
			check "$what: chown" 0 "$("$quoit" chown 12345:54321 "$name"; echo $?)"
			check "$what: owner" 12345:54321 "$(field "$name" uid):$(field "$name" gid)"
			check "$what: chown by name" 0 "$("$quoit" chown root:root "$name"; echo $?)"
			check "$what: owner" 0:0 "$(field "$name" uid):$(field "$name" gid)"
			"$quoit" chown :7 "$name"
			check "$what: the group alone" 0:7 "$(field "$name" uid):$(field "$name" gid)"
		fi
		if [[ $name != file:* ]]; then
			check_match "$what: ls has it" "$made +$kind .* new .*0604" "$("$quoit" ls -n)"
			check "$what: ls has it in JSON" 1 \
				"$("$quoit" ls -J | grep '^{"schema":1,' | grep -c "\"name\":\"$made\"")"
		fi
		check "$what: check" "$name: clean" "$("$quoit" check "$name")"
		check "$what: rm" 0 "$("$quoit" rm "$name"; echo $?)"
		check "$what: is gone" 3 "$("$quoit" info "$name" 2>/dev/null; echo $?)"
	done
done

# Geometry as asked for.
new_ring
"$quoit" create -q "$ring" -k mpmc -s 1M --slot-size 1000 --peers 7 --persistent
check_match "mpmc geometry" '"slots":2048,"slot_size":1000,"max_record":1000,.*"peers":7,"persistent":true' \
	"$("$quoit" info -J "$ring")"

# Private System V rings are named by their number.
private=$("$quoit" create sysv:private --size 4K)
rings+=("$private")
check_match "sysv:private gets a number" "^sysv:#[0-9]+$" "$private"
check "which is good to look at it" spsc "$(field "$private" kind)"
check_match "and ls has it" "$private +spsc" "$("$quoit" ls)"
check "and to remove it" 0 "$("$quoit" rm "$private"; echo $?)"

# Several at a time: one that is not there does not save the others.
for i in 1 2 3; do
	new_ring "shm:$tag-many$i"
	"$quoit" create -q "$ring"
done
check "rm of several" 0 "$("$quoit" rm "$tag-many1" "$tag-many2"; echo $?)"
check "rm goes on behind an error" 3 "$("$quoit" rm "$tag-many2" "$tag-many3" 2>/dev/null; echo $?)"
check "so all are gone" 0 "$("$quoit" ls | grep -c "$tag-many")"

# For one command.
new_ring
check "create -- COMMAND: the ring is in the environment" "shm:$tag-cmd" \
	"$("$quoit" create "$tag-cmd" -- sh -c 'echo $QUOIT_RING')"
check "its exit code" 7 "$("$quoit" create "$tag-cmd" -- sh -c 'exit 7'; echo $?)"
check "or the signal that killed it" 137 "$("$quoit" create "$tag-cmd" -- sh -c 'kill -9 $$'; echo $?)"
check "a command that is not there" 127 "$("$quoit" create "$tag-cmd" -- /none 2>/dev/null; echo $?)"
check "options behind the command are its own" "-n -J" \
	"$("$quoit" create "$tag-cmd" -- printf '%s %s\n' -n -J)"
check "the ring goes with it" 3 "$("$quoit" info "$tag-cmd" 2>/dev/null; echo $?)"
check "it may remove the ring itself" 0 \
	"$("$quoit" create "$tag-cmd" -- sh -c "'$quoit' rm \$QUOIT_RING"; echo $?)"
start "$quoit" create "$tag-cmd" -- sleep 30
creator=$pid
until_true "$quoit" info "$tag-cmd" >/dev/null 2>&1
sleep 0.1
kill -TERM "$creator"
finish "$creator"
check "SIGTERM reaches the command" 143 $?
check "and the ring goes then, too" 3 "$("$quoit" info "$tag-cmd" 2>/dev/null; echo $?)"

# memfd: by descriptor, and seen by others through /proc.
check_match "a memfd ring is handed over as a descriptor" "^fd:[0-9]+ memfd$" \
	"$("$quoit" create memfd:$tag -- sh -c "echo \$QUOIT_RING \$('$quoit' info -J |
		sed 's/.*\"backend\":\"\([a-z]*\)\".*/\1/')")"
check "both programs use it" 1000 "$("$quoit" create memfd:$tag -- sh -c "seq 1000 |
	'$produce' -q --lines & '$consume' -q --lines | tail -n 1")"
start "$quoit" create memfd:$tag-seen -- sleep 30
creator=$pid
until_true sh -c "'$quoit' ls -v | grep -q memfd:$tag-seen"
path=$("$quoit" ls -J | sed -n "s/.*\"name\":\"\([^\"]*\)\",\"label\":\"memfd:$tag-seen\".*/\1/p")
check_match "ls finds memfd rings" "^/proc/[0-9]+/fd/[0-9]+$" "$path"
check "under a name that can be looked at" clean "$("$quoit" check "$path" | sed 's/.*: //')"
seq 3 | "$produce" -q --lines "$path"
check "and attached to" "1 2 3" "$("$consume" -q --lines "$path" | xargs)"
kill -TERM "$creator"
finish "$creator"

# In JSON a ring has one name, however it is called on the command line.
new_ring "$tag-named"
"$quoit" create -q "$ring"
echo hello | "$produce" -q "$ring"
name='"name":"shm:'$ring'"'
for command in info stat "stat -i 0.01 -c 1" check "dump --records" tail "repair --dry-run" "rm --dry-run"; do
	# shellcheck disable=SC2086
	check_match "$command --json: the canonical name" "$name" "$("$quoit" $command -J "$ring")"
done
check_match "rm --json: the canonical name" "$name" "$("$quoit" rm -J "$ring")"
new_ring "$tag-named"
"$quoit" create -q "$ring"
start "$produce" -q -g 0 "$ring"
producer=$pid
until_stat "$ring" '"producers":1'
check_match "peers --json: the canonical name" "$name" "$("$quoit" peers -J "$ring")"
kill -KILL "$producer"
finish "$producer"

# A file ring is found while somebody has it mapped.
new_ring "file:$scratch/used"
start "$quoit" create "$ring" -- sleep 30
creator=$pid
until_true sh -c "'$quoit' ls | grep -q '^$ring '"
check "ls finds file rings in use" 1 "$("$quoit" ls -n | grep -c "^$ring ")"
kill -TERM "$creator"
finish "$creator"
done_testing
