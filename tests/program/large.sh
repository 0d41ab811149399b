#!/bin/bash
# SPDX-License-Identifier: MIT
# More than 4 GiB: no length or position is kept in 32 bits. Most of the file is a hole.
. "$(dirname "$0")/common.bash"

# On tmpfs, if there is one: holes are read fastest there.
data=$scratch/data
[[ -w /dev/shm ]] && data=/dev/shm/$tag.data && files+=("$data")
size=$((4 * 1024 * 1024 * 1024 + 12345))
truncate -s $size "$data" || { echo "skipped: no sparse files here"; exit 77; }
for offset in 0 2147483647 4294967295 $((size - 9)); do
	printf 'here it is' | dd of="$data" bs=1 seek=$offset conv=notrunc status=none
done
size=$(stat -c %s "$data")

new_ring
start "$produce" -q -t 30 --create --ring-size 4M --chunk 256K --summary "$scratch/sent" "$ring" <"$data"
producer=$pid
"$consume" -q -t 30 --remove --summary "$scratch/received" "$ring" | cmp - "$data"
check "more than 4 GiB arrive as they were sent" "0 0" "${PIPESTATUS[*]}"
finish "$producer"
check "and the producer ends well" 0 $?
check "bytes sent" "$size" "$(number "$scratch/sent" bytes)"
check "bytes received" "$size" "$(number "$scratch/received" bytes)"
done_testing
