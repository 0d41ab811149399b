#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# See quoit at work: a real file through shared memory between two processes, a look at the ring
# while it runs, a producer killed half-way and replaced; many rings in one process, and records
# longer than any slot.
#
#   scripts/demo.sh [MEGABYTES]    size of the file, default 600
#
# Installs what is missing (scripts/setup.sh), builds, shows, cleans up. Exit code 0 if every step
# did what it should.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
megabytes=${1:-600}
if [[ ! $megabytes =~ ^[1-9][0-9]{0,5}$ ]]; then
	sed -n '4,11s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi

bin=$root/build/bin
prefix=demo-$$
work=$(mktemp -d "${TMPDIR:-/tmp}/quoit-demo.XXXXXX")
children=()
step=0

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	local pid ring
	for pid in "${children[@]}"; do
		kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	done
	for ring in lines spsc mpmc load kill many-1 many-2 many-3 heap; do
		"$bin/quoit" -q rm "shm:$prefix-$ring" >/dev/null 2>&1
	done
	rm -rf "$work"
}
trap 'cleanup || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

bold='' plain=''
if [[ -t 1 ]]; then
	bold=$'\033[1m' plain=$'\033[0m'
fi
# A terminal shows a progress line that rewrites itself; a log gets lines.
progress=()
[[ -t 2 ]] || progress=(--stats 0.1)
# Should anything go wrong, nobody waits for ever.
patience=(--timeout 20)

title() {
	step=$((step + 1))
	printf '\n%s%d. %s%s\n' "$bold" "$step" "$*" "$plain"
}
note() {
	printf '   %s\n' "$@"
}
fail() {
	printf '\ndemo.sh: FAILED: %s\n' "$*" >&2
	exit 1
}
# Show a command as one would type it, then run it.
show() {
	printf '   $ %s\n' "${*/#"$bin/"/}"
	"$@" 2>&1 | sed 's/^/     /'
	return "${PIPESTATUS[0]}"
}
# background NAME COMMAND...: its pid in $pid, what it says on stderr in $work/NAME.err
background() {
	local name=$1
	shift
	"$@" <&0 2>"$work/$name.err" & # <&0: without it, bash gives it /dev/null
	pid=$!
	children+=("$pid")
}
# reap PID NAME EXPECTED: wait for it, show what it said, check its exit code.
reap() {
	local status=0
	wait "$1" || status=$?
	sed 's/^/     /' "$work/$2.err"
	((status == $3)) || fail "$2: exit code $status, not $3"
}
checksum() {
	sha256sum "$1" | cut -d ' ' -f 1
}
same() {
	local got
	got=$(checksum "$1")
	note "sent:     $expected" "received: $got"
	[[ $got == "$expected" ]] || fail "the received file differs"
	note "Equal."
}

make_file() {
	local size=$((megabytes * 1000000)) have=0
	: >"$work/sent"
	while ((have < size)); do
		# head closes the pipe when it has enough; files that vanish meanwhile do not matter.
		{ tar -cf - -C / --ignore-failed-read usr/lib usr/bin usr/share 2>/dev/null || true; } |
			head -c $((size - have)) >>"$work/sent"
		have=$(stat -c %s "$work/sent")
		((have > 0)) || fail "there is nothing to read in /usr"
	done
	expected=$(checksum "$work/sent")
}

build() {
	"$root/scripts/setup.sh"
	cd "$root"
	# What tests and benchmarks need may not be installed; but a build that has them is left as it is.
	if [[ ! -e build/CMakeCache.txt ]]; then
		cmake --preset release -DBUILD_TESTING=OFF -DQUOIT_PERF=OFF >"$work/build.log" 2>&1 ||
			fail "configuring: $(cat "$work/build.log")"
	fi
	cmake --build --preset release -j "$(nproc)" --target quoit quoit-produce quoit-consume \
		>"$work/build.log" 2>&1 || fail "building: $(cat "$work/build.log")"
	cd "$OLDPWD"
}

three_lines() {
	local ring=shm:$prefix-lines said

	title "Three lines into a ring; they stay there until somebody takes them"
	printf '   $ printf "%%s\\n" one two three | quoit-produce --create --lines %s\n' "$ring"
	printf '%s\n' one two three | "$bin/quoit-produce" --create --lines --quiet "$ring" ||
		fail "quoit-produce --lines"
	show "$bin/quoit" dump --records "$ring" || fail "quoit dump"
	said=$(show "$bin/quoit-consume" --lines --quiet --remove "$ring") || fail "quoit-consume --lines"
	printf '%s\n' "$said"
	[[ $(tail -n 3 <<<"$said" | tr -d ' ') == $'one\ntwo\nthree' ]] || fail "they came out otherwise"
}

stream_file() {
	local kind=$1 ring=shm:$prefix-$1
	local consume=("$bin/quoit-consume" --create --kind "$kind" --ring-size 4M)
	[[ $kind == spsc ]] || consume+=(--slot-size 64K)
	consume+=(--remove "$ring")

	# Its pages are there before the clock runs: else the first stream would pay for them.
	head -c $((megabytes * 1000000)) /dev/zero 1<>"$work/received"
	title "The file through ${kind^^}: $2"
	printf '   one terminal:   $ quoit-produce %s < sent\n' "$ring"
	printf '   another:        $ %s > received\n' "${consume[*]/#"$bin/"/}"
	background producer "$bin/quoit-produce" "${patience[@]}" "$ring" <"$work/sent"
	"${consume[@]}" "${patience[@]}" "${progress[@]}" 1<>"$work/received" ||
		fail "quoit-consume: exit code $?"
	reap "$pid" producer 0
	same "$work/received"
}

generated_load() {
	local ring=shm:$prefix-load

	title "A generated load: 64-byte records as fast as they go, sequence and checksum verified"
	background producer "$bin/quoit-produce" "${patience[@]}" --generate 20M --size 64 --verify "$ring"
	show "$bin/quoit-consume" "${patience[@]}" --create --ring-size 1M --remove --verify "$ring" ||
		fail "quoit-consume --verify"
	reap "$pid" producer 0

	title "The same ring kind at 200,000 records a second: latency, and a look at it meanwhile"
	background producer "$bin/quoit-produce" "${patience[@]}" --create --generate 1M --size 64 \
		--rate 200k --latency "$ring"
	local producer=$pid
	background consumer "$bin/quoit-consume" "${patience[@]}" --latency --remove "$ring"
	local consumer=$pid
	sleep 0.5
	note '$ quoit ls    (only the rings of this demo)'
	"$bin/quoit" ls 2>/dev/null | sed -n "1s/^/     /p;/$prefix/s/^/     /p" >"$work/ls"
	cat "$work/ls"
	grep "$prefix-load.*open" "$work/ls" >/dev/null || fail "quoit ls does not show the ring"
	show "$bin/quoit" peers "$ring" || fail "quoit peers"
	show "$bin/quoit" stat -i 1 -c 3 "$ring" || fail "quoit stat"
	note "\$ quoit dump --header $ring    (the first lines)"
	"$bin/quoit" dump --header "$ring" >"$work/dump" || fail "quoit dump"
	sed -n '1,11s/^/     /p' "$work/dump"
	note "Nobody was disturbed:"
	reap "$consumer" consumer 0
	reap "$producer" producer 0
	grep -q 'p99.9 ' "$work/consumer.err" || fail "no latency percentiles"
}

killed_producer() {
	local ring=shm:$prefix-kill

	title "A producer is killed in mid-stream, a second one finishes"
	background consumer "$bin/quoit-consume" "${patience[@]}" --create --ring-size 4M --resume \
		--remove "$ring" >"$work/received"
	local consumer=$pid
	# 64 KiB a record; so that the whole file would take 3 s.
	background first "$bin/quoit-produce" "${patience[@]}" \
		--rate $((megabytes * 1000000 / 65536 / 3 + 1)) "$ring" <"$work/sent"
	note "The first producer, slowed down to take 3 seconds, is process $pid."
	sleep 1.5
	kill -9 "$pid"
	wait "$pid" 2>/dev/null || true
	note "kill -9 $pid"
	sleep 0.3
	show "$bin/quoit" peers "$ring" || fail "quoit peers"
	local size
	size=$(stat -c %s "$work/received")
	note "$size bytes have come through so far."
	((size < megabytes * 1000000)) || fail "the producer had finished before it was killed"
	printf '   $ quoit-produce --seek-committed %s < sent\n' "$ring"
	background second "$bin/quoit-produce" "${patience[@]}" --seek-committed "$ring" <"$work/sent"
	reap "$pid" second 0
	note "And the consumer, which lived through it:"
	reap "$consumer" consumer 0
	grep -q died "$work/consumer.err" || fail "the consumer did not say that a producer died"
	same "$work/received"
}

many_rings() {
	local rings=("shm:$prefix-many-1" "shm:$prefix-many-2" "shm:$prefix-many-3") ring got

	title "Many rings: one producer deals lines out to three, one consumer reads all three"
	printf '   one terminal:   $ quoit-consume --create --lines --remove %s > lines\n' "${rings[*]}"
	printf '   another:        $ seq 300000 | quoit-produce --fan-out round-robin --lines %s\n' \
		"${rings[*]}"
	background consumer "$bin/quoit-consume" "${patience[@]}" --create --lines --remove "${rings[@]}" \
		>"$work/lines"
	local consumer=$pid
	background producer "$bin/quoit-produce" "${patience[@]}" --fan-out round-robin --lines \
		"${rings[@]}" < <(seq 300000)
	reap "$pid" producer 0
	reap "$consumer" consumer 0
	got=$(sort -n "$work/lines" | cmp - <(seq 300000) 2>&1) || fail "lines are missing: $got"
	note "$(wc -l <"$work/lines") lines, each of them once."
}

heap_records() {
	local ring=shm:$prefix-heap size=$((megabytes * 1000000))

	title "Records of 8 MiB through a ring of 64 KiB: they lie in its heap, and are read in place"
	show "$bin/quoit" create --kind mpmc --size 64K --slot-size 256 --heap 64M "$ring" ||
		fail "quoit create --heap"
	note '$ quoit info    (what it says of the heap)'
	"$bin/quoit" info "$ring" | grep '^heap' | sed 's/^/     /'
	printf '   $ quoit-produce --chunk 8M %s < sent\n' "$ring"
	background producer "$bin/quoit-produce" "${patience[@]}" --chunk 8M "$ring" <"$work/sent"
	local producer=$pid
	until "$bin/quoit" -J stat "$ring" | grep -q '"free": *0'; do
		kill -0 "$producer" 2>/dev/null || break
		sleep 0.02
	done
	note "Nobody reads yet, so it is as full as that (quoit stat, the last lines):"
	"$bin/quoit" stat "$ring" | sed -n '/^HEAP/,$s/^/     /p'
	show "$bin/quoit" check "$ring" || fail "quoit check"
	printf '   $ quoit-consume --remove %s > received\n' "$ring"
	head -c "$size" /dev/zero 1<>"$work/received"
	"$bin/quoit-consume" "${patience[@]}" "${progress[@]}" --remove "$ring" 1<>"$work/received" ||
		fail "quoit-consume: exit code $?"
	reap "$producer" producer 0
	same "$work/received"
}

printf '%squoit: a file through shared memory, watched, and a process killed%s\n' "$bold" "$plain"
title "Building"
build
note "$("$bin/quoit" --version), in build/bin"

title "Making a file of $megabytes MB out of this system's own files"
make_file
note "SHA-256 $expected"

three_lines
stream_file spsc "one producer, one consumer, records of any length"
stream_file mpmc "many of both, slots stamped with their owner"
generated_load
killed_producer
many_rings
heap_records

title "Nothing is left behind"
if "$bin/quoit" -n ls 2>/dev/null | grep "$prefix"; then
	fail "a ring is left"
fi
printf '\n%sAll %d steps did what they should, in %d s.%s\n' "$bold" "$step" "$SECONDS" "$plain"
