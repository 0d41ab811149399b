#!/bin/bash
# SPDX-License-Identifier: MIT
# quoit: every error has its exit code and one line that says what, which ring, why, and what to do.
. "$(dirname "$0")/common.bash"
quoit=$bin/quoit

# expect STATUS REGEX ARGUMENT...
expect() {
	local want=$1 regex=$2 text
	shift 2
	text=$("$quoit" "$@" 2>&1 >/dev/null </dev/null)
	check "quoit $*: exit code" "$want" $?
	check_match "quoit $*: message" "$regex" "$text"
	check "quoit $*: one line" 1 "$(wc -l <<<"$text")"
}

check_match "--help names every command" "ls .*create .*info .*stat .*peers .*dump .*tail .*check .*repair .*rm .*chmod .*chown " \
	"$("$quoit" --help | tr '\n' ' ')"
for command in ls create info stat peers dump tail check repair rm chmod chown; do
	check_match "$command --help" "^Usage: quoit $command " "$("$quoit" $command --help)"
	check "$command --help is no error" 0 "$("$quoit" $command --help >/dev/null; echo $?)"
	expect 2 "--nonsense' is not an option.*; try 'quoit $command --help'" $command --nonsense
done
check_match "-V" "^quoit [0-9]+\.[0-9]+\.[0-9]+$" "$("$quoit" -V)"

# 2 usage
expect 2 "a command is missing"
expect 2 "'frobnicate' is not a command" frobnicate
expect 2 "the name of a ring is missing" info
expect 2 "one ring at a time" info a b
expect 2 "'x' is too much" ls x
expect 2 "the name of the ring is missing" create
expect 2 "the name of a ring is missing" rm
expect 2 "a mode and the name" chmod 600
expect 2 "'999' is not an octal mode" chmod 999 x
expect 2 "'nobody-at-all' is not a user" chown nobody-at-all x
expect 2 "neither a user nor a group" chown : x
expect 2 "--kind: 'x' is not one" create --kind x r
expect 2 "'x' is not a number" create --size x r
expect 2 "'1' is not within 1024 and" create --size 1 r
expect 2 "'1.5' is not a whole number" create --kind mpmc --peers 1.5 r
expect 2 "are for --kind mpmc" create --peers 5 r
expect 2 "add -- COMMAND" create memfd:x
expect 2 "not an interval" stat -i 0 r
expect 2 "needs an argument" stat -i
expect 2 "exclude each other" dump --header --records r

# 3 what is named is missing, and it is not the ring
expect 3 "no such open descriptor" info fd:77
expect 3 "its folder does not exist; make that first" create "file:$scratch/none/r"
expect 3 "its file does not exist; make that first" create "sysv:$scratch/none,1"

# 1 names that are none, rings that are there already
expect 1 "cannot open 'no:such': .*; names are shm:NAME" info no:such
expect 1 "names are shm:NAME" create shm:a/b
new_ring
"$quoit" create -q "$ring"
expect 1 "cannot create '$ring': the ring exists already; remove it with" create "$ring"

# 3 not found
for command in info stat peers dump tail check repair rm; do
	expect 3 "cannot [a-z]+ 'shm:$tag-none': no such ring; see 'quoit ls'" $command "shm:$tag-none"
done
expect 3 "no such ring" chmod 600 "shm:$tag-none"
expect 3 "no such ring" dump "$scratch/none"
expect 3 "no such ring" info "sysv:0x5100ffff"

# 4 permission
if [[ $(id -u) == 0 ]] && setpriv --reuid 65534 --regid 65534 --clear-groups -- "$quoit" -V >/dev/null 2>&1; then
	as_nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups -- "$quoit")
	for command in info stat peers dump tail check repair rm; do
		text=$("${as_nobody[@]}" $command "$ring" 2>&1 >/dev/null)
		check "$command of somebody else's ring: exit code" 4 $?
		check_match "$command of somebody else's ring: message" "cannot [a-z]+ '$ring': .*; " "$text"
	done
	"${as_nobody[@]}" chmod 666 "$ring" 2>/dev/null
	check "chmod of somebody else's ring" 4 $?
	check_match "ls shows it all the same" "$ring .* denied " "$("${as_nobody[@]}" ls)"
	first=$ring
	new_ring
	"$quoit" create -q "$ring" && "$quoit" chown 65534 "$ring"
	text=$("${as_nobody[@]}" chown root "$ring" 2>&1)
	check "its owner may not give it away: exit code" 4 $?
	check_match "and is told so" "'$ring': not permitted; only root may give it away" "$text"
	ring=$first
	"$quoit" chmod 644 "$ring"
	check "read-only is enough to look" 0 "$("${as_nobody[@]}" dump "$ring" >/dev/null; echo $?)"
	check "but not to repair" 4 "$("${as_nobody[@]}" repair "$ring" >/dev/null 2>&1; echo $?)"
else
	echo "skipped: no other user can run $quoit"
fi

# 5 another layout, 6 corrupt: in images, so that a ring of the next version is needed for neither
file=/dev/shm/quoit.${ring#shm:}
cp "$file" "$scratch/foreign"
printf '\x00' | dd of="$scratch/foreign" bs=1 seek=0 conv=notrunc status=none
for command in info stat peers dump tail check; do
	expect 5 "cannot open '$scratch/foreign': .*made by another version" $command "$scratch/foreign"
done
cp "$file" "$scratch/corrupt"
printf '\x77' | dd of="$scratch/corrupt" bs=1 seek=300 conv=notrunc status=none
for command in info stat peers dump tail check; do
	check "$command of a corrupt ring: exit code" 6 \
		"$("$quoit" $command "$scratch/corrupt" >/dev/null 2>&1; echo $?)"
done
# The same of a ring proper: it is found damaged, is not repaired, and can be removed.
printf '\x77' | dd of="$file" bs=1 seek=300 conv=notrunc status=none
expect 6 "cannot repair '$ring': shared memory is corrupt; see 'quoit check'" repair -q "$ring"
check_match "ls says so" "$ring .* corrupt " "$("$quoit" ls)"
check "rm removes it" 0 "$("$quoit" rm "$ring"; echo $?)"

# Somebody truncates the file of a ring that is looked at.
new_ring "file:$scratch/truncated"
"$quoit" create -q "$ring"
start "$quoit" tail -f "$ring" >/dev/null 2>"$scratch/err"
watcher=$pid
until_true grep -q "r--s" "/proc/$watcher/maps"
sleep 0.1
truncate -s 0 "$scratch/truncated"
finish "$watcher"
check "a ring that is cut off under our hands: exit code" 6 $?
check_match "and told" "$ring'?: (.* was cut off|shared memory is corrupt)" "$(cat "$scratch/err")"

# Output that cannot be written.
new_ring
"$quoit" create -q "$ring"
"$quoit" info "$ring" >/dev/full 2>"$scratch/err"
check "a full disk is an error" 1 $?
check_match "and told" "cannot write to standard output: No space left" "$(cat "$scratch/err")"
done_testing
