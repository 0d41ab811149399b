#!/bin/bash
# SPDX-License-Identifier: MIT
# A file arrives as it was sent, on every backend, ring kind and way of waiting, whoever comes first.
. "$(dirname "$0")/common.bash"

data=$scratch/data
# Compressible and not, with an odd length.
{ head -c 1500000 "$produce"; head -c 700000 /dev/urandom; head -c 300001 /dev/zero; } >"$data"

# stream WHAT RING OPTION...: once with the producer first, once with the consumer first.
stream() {
	local what=$1 order producer consumer
	shift
	for order in producer consumer; do
		new_ring "$1"
		if [[ $order == producer ]]; then
			start "$produce" -q -t 20 --create "${@:2}" "$ring" <"$data"
			producer=$pid
			start "$consume" -q -t 20 --remove "$ring" >"$scratch/out"
			consumer=$pid
		else
			start "$consume" -q -t 20 --create "${@:2}" --remove "$ring" >"$scratch/out"
			consumer=$pid
			start "$produce" -q -t 20 "$ring" <"$data"
			producer=$pid
		fi
		finish "$producer"
		check "$what, $order first: producer ends well" 0 $?
		finish "$consumer"
		check "$what, $order first: consumer ends well" 0 $?
		check_same "$what, $order first: content" "$data" "$scratch/out"
	done
}

key=$((0x51000000 + $$ % 0xffffff))
waits=(spin yield futex sem sysvsem eventfd)
for kind in spsc mpmc; do
	for wait in "${waits[@]}"; do
		options=(--kind "$kind" --ring-wait "$wait" --ring-size 256K)
		[[ $kind == mpmc ]] && options+=(--slot-size 4K)
		stream "shm $kind $wait" "shm:$tag" "${options[@]}"
		stream "sysv $kind $wait" "sysv:$key" "${options[@]}"
		stream "file $kind $wait" "file:$scratch/ring" "${options[@]}"

		# Nobody else can find a memfd: one process makes it and hands it down.
		# shellcheck disable=SC2016
		"$bin/quoit" create "memfd:$tag" --kind "$kind" --wait "$wait" --size 256K \
			$([[ $kind == mpmc ]] && echo --slot-size 4K) -- \
			bash -c '"$1" -q -t 20 <"$3" & "$2" -q -t 20 >"$4" && wait $!' - \
			"$produce" "$consume" "$data" "$scratch/out"
		check "memfd $kind $wait: both end well" 0 $?
		check_same "memfd $kind $wait: content" "$data" "$scratch/out"
	done
done

# Each side its own way.
for wait in "${waits[@]}"; do
	[[ $wait == sysvsem ]] && continue # needs a set of semaphores, made with the ring
	new_ring
	start "$produce" -q -t 20 --create --ring-size 64K --wait "$wait" "$ring" <"$data"
	producer=$pid
	"$consume" -q -t 20 --wait futex --remove "$ring" >"$scratch/out"
	check "producer $wait, consumer futex: consumer ends well" 0 $?
	finish "$producer"
	check "producer $wait, consumer futex: producer ends well" 0 $?
	check_same "producer $wait, consumer futex: content" "$data" "$scratch/out"
done
done_testing
