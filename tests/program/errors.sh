#!/bin/bash
# SPDX-License-Identifier: MIT
# Every error has its exit code and one line that says what, which ring, why, and what to do.
. "$(dirname "$0")/common.bash"

# expect STATUS REGEX COMMAND...: also that nothing but one line is said.
expect() {
	local want=$1 regex=$2 text status
	shift 2
	text=$("$@" 2>&1 >/dev/null </dev/null)
	status=$?
	check "${*##*/}: exit code" "$want" $status
	check_match "${*##*/}: message" "$regex" "$text"
	check "${*##*/}: one line" 1 "$(wc -l <<<"$text")"
}

for program in "$produce" "$consume"; do
	name=${program##*/}
	check "$name --help" 0 "$("$program" --help | grep -q '^Usage: ' && echo 0)"
	check_match "$name -V" "^$name [0-9]+\.[0-9]+\.[0-9]+$" "$("$program" -V)"
	check "$name -V names the library's version" "$("$program" -V)" "$("$program" --version)"

	# 2 usage
	expect 2 "which ring" "$program"
	expect 2 "$name: unrecognized option '--nonsense'; try '$name --help'$" "$program" --nonsense x
	expect 2 "unrecognized option '-z'" "$program" -qz x
	expect 2 "option '--count' requires an argument" "$program" x --count
	expect 2 "option '-n' requires an argument" "$program" x -n
	expect 2 "option '--create=1' takes no argument" "$program" --create=1 x
	expect 2 "option '--lines=1' takes no argument" "$program" --lines=1 x
	expect 2 "nobody could open it" "$program" --create --mode 0 r
	expect 2 "use 'quoit create memfd:x -- COMMAND'" "$program" --create memfd:x
	expect 2 "use 'quoit create memfd:x -- COMMAND'" "$program" memfd:x
	expect 2 "'x' is not a number" "$program" --count x r
	expect 2 "'-1' is not a number" "$program" --count=-1 r
	expect 2 "'0x10' is not" "$program" --count 0x10 r
	expect 2 "'nan' is not a number" "$program" --timeout nan r
	expect 2 "'1.5' is not a whole number" "$program" --count 1.5 r
	expect 2 "'1Q': no such unit" "$program" --create --ring-size 1Q r
	expect 2 "'1' is not between 1024 and" "$program" --create --ring-size 1 r
	expect 2 "'0' is not between 1 and 256" "$program" --batch 0 r
	expect 2 "'1M' is not between" "$program" --batch 1M r
	expect 2 "neither spsc nor mpmc" "$program" --kind x r
	expect 2 "'x' is none of spin, yield" "$program" --wait x r
	expect 2 "not between 0 and 0777" "$program" --create --mode 0999 r
	expect 2 "cannot run on CPU 1023" "$program" --cpu 1023 r
	expect 2 "need --create" "$program" --ring-size 1M r

	# 3 no such ring; with a time to wait for it
	expect 3 "shm:$tag-none: cannot attach to the ring: .*create it with --create" \
		"$program" -t 0 "shm:$tag-none"
	expect 3 "cannot attach" "$program" -t 0.1 "file:$scratch/none"
	expect 3 "cannot attach" "$program" -t 0.1 "sysv:0x5100fffe"
	QUOIT_RING=shm:$tag-none expect 3 "shm:$tag-none: " "$program" -t 0

	expect 3 "fd:77: cannot attach to the ring: no such open descriptor" "$program" -t 0 fd:77
	expect 3 "file:$scratch/none/r: cannot create the ring: its folder does not exist" \
		"$program" -t 0 --create "file:$scratch/none/r"

	expect 2 "--mode 0400 would lock its owner out of System V memory; add 0600" \
		"$program" -t 0 --create --mode 0400 sysv:0x5100fffd

	# 1 names that are none
	expect 1 "names are shm:NAME" "$program" -t 0 "nonsense:x"
	expect 1 "names are shm:NAME" "$program" -t 0 "shm:a/b"
done

# A ring that is not there is waited for, and after a second that is said.
new_ring
start "$consume" -t 20 "$ring" >"$scratch/out" 2>"$scratch/err"
consumer=$pid
sleep 1.3
check_match "waiting is told" "waiting for somebody to create it" "$(cat "$scratch/err")"
echo hello | "$produce" -q --create "$ring"
finish "$consumer"
check "and ends when the ring appears" 0 $?
check "with what is in it" hello "$(cat "$scratch/out")"

# 4 permission
new_ring
"$produce" -q --create "$ring" </dev/null
other=()
if [[ $(id -u) == 0 ]]; then
	other=(setpriv --reuid 65534 --regid 65534 --clear-groups --)
else
	"$bin/quoit" chmod 0 "$ring"
fi
if "${other[@]}" "$consume" -V >/dev/null 2>&1; then
	expect 4 "$ring: cannot attach to the ring: .*" "${other[@]}" "$consume" -t 1 "$ring"
	expect 4 "$ring: cannot attach to the ring: .*" "${other[@]}" "$produce" -t 1 "$ring"
else
	echo "skipped: no other user can run $bin"
fi
"$bin/quoit" chmod 0600 "$ring"
check "permission can be given back by the owner" 0 $?

# 5 not a ring, or another kind
head -c 100000 /dev/zero >"$scratch/zero"
head -c 100000 /dev/urandom >"$scratch/noise"
echo short >"$scratch/short"
for file in zero noise short; do
	expect 5 "file:$scratch/$file: cannot attach to the ring" "$consume" -t 0 "file:$scratch/$file"
done
for program in "$produce" "$consume"; do
	expect 5 "$ring: is an spsc ring, not mpmc; leave --kind out" "$program" -t 0 --kind mpmc "$ring"
	expect 5 "$ring: is an spsc ring, not mpmc" "$program" -t 0 --create --kind mpmc "$ring"
done

# 6 corrupt: a record whose length leads out of the ring
new_ring "file:$scratch/ring"
echo hello | "$produce" -q --create "$ring"
offset=$(od -An -tu8 -j 72 -N 8 "$scratch/ring" | tr -d ' ') # data_offset, docs/FORMAT.md
printf '\377\377\377\377\377\377\377\277' |
	dd of="$scratch/ring" bs=1 seek="$offset" conv=notrunc status=none
expect 6 "file:$scratch/ring: cannot receive: .*quoit check" "$consume" -q -t 1 "$ring"

# What was written before that is counted, and only that.
for kind in spsc mpmc; do
	new_ring "file:$scratch/ring-$kind"
	seq 1 100 | "$produce" -q --create --kind $kind --lines "$ring"
	offset=$("$bin/quoit" dump --records -J "$ring" | sed -n '51s/.*"offset":\([0-9]*\).*/\1/p')
	[[ $kind == mpmc ]] && ((offset += 8)) # its length
	printf '\377\377\377\377\377\377\377\277' |
		dd of="$scratch/ring-$kind" bs=1 seek="$offset" conv=notrunc status=none
	for how in --lines --discard; do
		cp "$scratch/ring-$kind" "$scratch/copy"
		"$consume" -t 1 $how --summary "$scratch/sum" "file:$scratch/copy" >"$scratch/out" 2>/dev/null
		check "$kind, $how: a record that is corrupt" 6 $?
		sed -i 's/"counters".*//' "$scratch/sum" # which are of those that could be advanced over
		check "$kind, $how: those before it are counted" "50 91" \
			"$(number "$scratch/sum" records) $(number "$scratch/sum" bytes)"
	done
done

# 7 timeout
new_ring
expect 7 "$ring: empty, and nobody sent a record for 0.2 s" "$consume" -q -t 0.2 --create "$ring"
new_ring
expect 7 "$ring: nobody took a record for 0.2 s" "$produce" -q -t 0.2 --create -g 0 "$ring"

new_ring
expect 7 "$ring: nobody took a record for 0.2 s" \
	"$produce" -q -t 0.2 --create --remove -g 5 "$ring"
check "a ring that holds what nobody took is not removed" 5 \
	"$("$consume" -t 1 --discard --json "$ring" 2>&1 | number /dev/stdin records | head -n 1)"

# 1 the rest
new_ring
start "$produce" -q --create -g 0 "$ring"
until_stat "$ring" '"producers":1'
expect 1 "$ring: cannot become its producer: .*SPSC" "$produce" -q -t 0 "$ring"
kill -KILL "$pid"
finish "$pid"
expect 1 "takes records of at most 8 bytes; make --size smaller" \
	"$produce" -q --create --kind mpmc --slot-size 8 --remove -g 1 "$tag-small"
new_ring "$tag-small"
expect 1 "cannot read: Is a directory" bash -c '"$1" -q --create "$2" </' - "$produce" "$ring"
expect 1 "cannot read: Bad file" bash -c '"$1" -q --create "$2" <&-' - "$produce" "$ring"
echo hello | "$produce" -q "$ring"
expect 1 "standard output: cannot write: No space" bash -c '"$1" -q -t 1 "$2" >/dev/full' - \
	"$consume" "$ring"
expect 1 "standard output: cannot write: Bad file" bash -c '"$1" -q -t 1 "$2" >&-' - \
	"$consume" "$ring"
"$consume" -q -t 1 "$ring" >"$scratch/out"
check "another consumer ends well" 0 $?
check "what could not be written is still there" hello "$(cat "$scratch/out")"
echo hello | "$produce" -q "$ring"
expect 1 "cannot write the summary" "$consume" -q -t 1 --summary "$scratch/none/x" "$ring"
expect 2 "several rings need --fan-out: 'y' is too much" "$produce" x y
expect 2 "about --generate" "$produce" --size 8 "$ring"
expect 2 "need a --size of 32" "$produce" -g 1 --size 31 --verify "$ring"
expect 2 "does not read standard input" "$produce" -g 1 --lines "$ring"
expect 2 "'later' is not order" "$consume" --verify=later "$ring"
done_testing
