#!/bin/bash
# SPDX-License-Identifier: MIT
# Sizes and framings: what is cut into records comes out whole, from nothing to many ring sizes.
. "$(dirname "$0")/common.bash"

# through RING-OPTIONS PRODUCER-OPTIONS CONSUMER-OPTIONS: $scratch/in to $scratch/out; sets $status.
through() {
	local producer
	new_ring
	# shellcheck disable=SC2086
	start "$produce" -q -t 20 --create $1 $2 "$ring" <"$scratch/in"
	producer=$pid
	# shellcheck disable=SC2086
	"$consume" -q -t 20 --remove $3 "$ring" >"$scratch/out"
	status=$?
	finish "$producer"
	status=$?,$status
}

head -c 5000000 /dev/urandom >"$scratch/random"
for kind in spsc mpmc; do
	for size in 0 1 7 8 9 1023 1024 1025 65535 65536 65537 1048576 5000000; do
		head -c $size "$scratch/random" >"$scratch/in"
		through "--kind $kind" "" ""
		check "$kind: $size bytes: both end well" 0,0 $status
		check_same "$kind: $size bytes: content" "$scratch/in" "$scratch/out"
	done
	head -c 100000 "$scratch/random" >"$scratch/in"
	through "--kind $kind --ring-size 1K" "" ""
	check "$kind: the smallest ring: both end well" 0,0 $status
	check_same "$kind: the smallest ring: content" "$scratch/in" "$scratch/out"
	through "--kind $kind --ring-size 64K" "--chunk 100" "--batch 1"
	check_same "$kind: small chunks" "$scratch/in" "$scratch/out"
done

# Lines: empty ones, a last one without end, longer than a block.
{
	seq 1 20000
	echo
	echo
	head -c 300000 /dev/zero | tr '\0' x
	echo
	printf 'no end'
} >"$scratch/in"
{ cat "$scratch/in"; echo; } >"$scratch/lines"
for batch in 1 7 256; do
	through "--ring-size 1M" "--lines --batch $batch" "--lines --batch $batch"
	check "lines in batches of $batch: both end well" 0,0 $status
	check_same "lines in batches of $batch: content" "$scratch/lines" "$scratch/out"
done
through "--ring-size 1M" "--lines --type 7" "--lines --show-types"
check "types come through" "$(sed 's/^/7	/' <"$scratch/lines" | sha256sum)" \
	"$(sha256sum <"$scratch/out")"
through "--ring-size 1M" "--lines --type 7" "--lines --type 8"
check "records of another type are dropped" 0 "$(wc -c <"$scratch/out")"
seq 1 100000 >"$scratch/in"
through "--kind mpmc --slot-size 16" --lines --lines
check_same "lines through small slots" "$scratch/in" "$scratch/out"
through "" "--lines --count 10" --lines
check_same "--count 10 sends ten lines" <(seq 1 10) "$scratch/out"

# --count is about what is written, not what --type drops; what follows stays.
for kind in spsc mpmc; do
	new_ring
	for i in 1 2 3 4; do
		seq $((10 * i)) $((10 * i + 1)) | "$produce" -q --create --kind $kind --lines -T 1 "$ring"
		echo "two $i" | "$produce" -q --lines -T 2 "$ring"
	done
	check "$kind: --type 2 --count 3" "two 1 two 2 two 3" \
		"$("$consume" -q -t 20 --lines -T 2 -n 3 "$ring" | xargs)"
	check "$kind: and what follows stays" "40 41 two 4" "$("$consume" -q --lines "$ring" | xargs)"
done

# Length-prefixed: what one side writes the other reads.
through "" --lines --length-prefixed
check "prefixes are added" 0,0 $status
cp "$scratch/out" "$scratch/prefixed"
check "a prefix is a little-endian length" 01000000 "$(head -c 4 "$scratch/out" | od -An -tx1 | tr -d ' ')"
cp "$scratch/out" "$scratch/in"
through "" --length-prefixed --length-prefixed
check_same "prefixed records" "$scratch/prefixed" "$scratch/out"
through "" --length-prefixed --lines
check_same "prefixed records, as lines" <(seq 1 100000) "$scratch/out"
head -c -1 "$scratch/prefixed" >"$scratch/in"
through "" --length-prefixed "" 2>"$scratch/err"
check "a truncated record is an error" 1,0 $status
check_match "and the message says where" "ends in the middle of record 100000" "$(cat "$scratch/err")"
printf '\377\377\377\377' >"$scratch/in"
through "" --length-prefixed "" 2>"$scratch/err"
check "a length that no ring takes is an error" 1,0 $status
check_match "and the message says so" "longer than the largest record" "$(cat "$scratch/err")"

# Fixed.
head -c 100001 "$scratch/random" >"$scratch/in"
through "" "--fixed 100" "--fixed 100"
check "fixed: both end well" 0,0 $status
check_same "fixed: content" "$scratch/in" "$scratch/out"
through "" "--fixed 100" "--length-prefixed"
check "fixed: records are 100 bytes, the last one shorter" "$((100001 + 4 * 1001))" \
	"$(wc -c <"$scratch/out")"

# A slow writer's records are not held back.
new_ring
mkfifo "$scratch/fifo"
exec 9<>"$scratch/fifo"
start "$consume" -q -t 20 --create --lines "$ring" >"$scratch/out"
consumer=$pid
start "$produce" -q -t 20 --lines "$ring" <"$scratch/fifo"
producer=$pid
echo one >&9
until_true grep -q one "$scratch/out"
check "a line arrives while its writer is silent" 0 $?
exec 9>&-
finish "$producer"
check "and the producer ends when its input does" 0 $?
finish "$consumer"
check "and so does the consumer" 0 $?
done_testing
