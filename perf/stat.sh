#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The demo load under `perf stat`, with whatever counters this machine has: hardware ones where there are
# any, else software events. Says which are missing.
#
#   stat.sh [BIN-DIR] [SECONDS]     default: build/bin beside this folder, 5 s
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
bin=${1:-$here/../build/bin}
seconds=${2:-5}
events=(
	cycles instructions cache-references cache-misses L1-dcache-load-misses LLC-load-misses
	branch-misses stalled-cycles-frontend stalled-cycles-backend
	task-clock context-switches cpu-migrations page-faults
	raw_syscalls:sys_enter sched:sched_switch
)

fail() {
	echo "stat.sh: $*" >&2
	exit 1
}
command -v perf >/dev/null || fail "perf is missing; run scripts/perf-setup.sh"
for program in quoit quoit-produce quoit-consume; do
	[ -x "$bin/$program" ] || fail "$bin/$program: not built; run scripts/demo.sh"
done

have=() missing=()
for event in "${events[@]}"; do
	# An event may be known and still not be counted: on virtual machines it says <not supported>.
	if out=$(perf stat -x, -e "$event" true 2>&1) && [[ $out != *"<not "* ]]; then
		have+=("$event")
	else
		missing+=("$event")
	fi
done
[ ${#have[@]} -gt 0 ] || fail "perf stat can count nothing here; see /proc/sys/kernel/perf_event_paranoid"
echo "counted:       ${have[*]}"
echo "missing here:  ${missing[*]:-none}"

ring=shm:quoit-stat-$$
consumer=
cleanup() {
	[ -z "$consumer" ] || kill "$consumer" 2>/dev/null || true
	"$bin/quoit" rm "$ring" >/dev/null 2>&1 || true
}
trap cleanup EXIT
counted=$(IFS=,; echo "${have[*]}")

for kind in spsc mpmc; do
	echo
	echo "== $kind, 64-byte records, $seconds s"
	"$bin/quoit" create "$ring" --kind $kind --size 1M >/dev/null
	perf stat -o "/tmp/quoit-stat-$$.consumer" -e "$counted" \
		"$bin/quoit-consume" --quiet --verify "$ring" &
	consumer=$!
	# SIGTERM lets the producer close, so that the consumer sees the end of the stream.
	perf stat -o "/tmp/quoit-stat-$$.producer" -e "$counted" \
		timeout --preserve-status -s TERM "$seconds" \
		"$bin/quoit-produce" --generate 0 --size 64 --verify --quiet "$ring" || true
	wait "$consumer" || fail "quoit-consume: exit code $?"
	consumer=
	for side in producer consumer; do
		echo "-- $side"
		sed '/^#/d; /^$/d' "/tmp/quoit-stat-$$.$side"
		rm -f "/tmp/quoit-stat-$$.$side"
	done
	"$bin/quoit" rm "$ring"
done
