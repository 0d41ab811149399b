#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Explores the library's own code under C11's weaker memory orders, and checks that each edge that
# is weakened, and each step that is left out, is noticed. README.md beside tests/model/run.sh.
#
#   run.sh                    all lines of the table
#   run.sh NAME...            some
#   run.sh --replay NAME      the way to the failure of one
#
# Exit code 0: all as expected; 1: not; 77: this machine cannot run it (x86-64 and gcc only).

set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${QUOIT_SOURCES:-$(cd "$here/../../.." && pwd)}

# name | scenario | expected | left out: edges, faults, or a change of the source (below)
table() {
	cat <<'END'
spsc|spsc|holds|
spsc-in-place|spsc-in-place|holds|
spsc-batch|spsc-batch|holds|
spsc-kill-producer|spsc-kill-producer|holds|
spsc-kill-counting|spsc-kill-counting|holds|
spsc-kill-consumer|spsc-kill-consumer|holds|
mpmc|mpmc|holds|
mpmc-in-place|mpmc-in-place|holds|
mpmc-4|mpmc-4|holds|
mpmc-reuse|mpmc-reuse|holds|
mpmc-mixed|mpmc-mixed|holds|
mpmc-reap|mpmc-reap|holds|
mpmc-reap-writer|mpmc-reap-writer|holds|
wait-spsc|wait-spsc|holds|
wait-spsc-fenced|wait-spsc|holds|fenced
wait-mpmc|wait-mpmc|holds|
wait-room-spsc|wait-room-spsc|holds|
wait-room-mpmc|wait-room-mpmc|holds|
life|life|holds|
S1-release|spsc-in-place|fails|S1_RELEASE
S1-acquire|spsc-in-place|fails|S1_ACQUIRE
S2-release|spsc-in-place|fails|S2_RELEASE
S2-acquire|spsc-in-place|fails|S2_ACQUIRE
S3-release|spsc-in-place|fails|S3_RELEASE
S3-acquire|spsc-in-place|fails|S3_ACQUIRE
M1-release|mpmc-in-place|fails|M1_RELEASE
M1-acquire|mpmc-in-place|fails|M1_ACQUIRE
M2-release|mpmc-reuse|fails|M2_RELEASE
M2-acquire|mpmc-reuse|fails|M2_ACQUIRE
copy-M1-release|mpmc|fails|M1_RELEASE
copy-M1-acquire|mpmc|fails|M1_ACQUIRE
R1-release|mpmc-reap|fails|R1_RELEASE
R1-acquire|mpmc-reap|fails|R1_ACQUIRE
P2-acquire|life|fails|P2_ACQUIRE
P1-P3-release|life|fails|P1_RELEASE P3_RELEASE
P1-P3-acquire|life|fails|P1_ACQUIRE P3_ACQUIRE
E3-release|wait-spsc|fails|fenced E3_RELEASE
E3-acquire|wait-spsc|fails|fenced E3_ACQUIRE
no-stamp|mpmc-reap-writer|fails|no-stamp
no-membarrier|wait-spsc|fails|no-membarrier
no-recheck|wait-spsc|fails|no-recheck
clear-announcement|wait-spsc|fails|clear-announcement
no-clear-ahead|spsc|fails|no-clear-ahead
mark-early|spsc-kill-counting|fails|mark-early
no-mark|spsc-kill-counting|fails|no-mark
END
}

# Changes of the source, by name: file, what sed does to it, and what has to be compiled again.
change() {
	case $1 in
	# The sleeper does not look again after it has announced.
	no-recheck)
		echo 'ring/wait.c|/^static int sleep_once/,/^}/s/r = look_at(.*/r = -EAGAIN;/|ring/wait'
		;;
	# The waker takes the announcement back, and leaves the sequence as it is.
	clear-announcement)
		echo 'sync/eventcount.c|s/event_word(seq, seq + 1)/event_word(seq - 1, seq)/|sync/eventcount'
		;;
	# Old payload where the next header will be is left as it is.
	no-clear-ahead)
		echo 'ring/include/quoit/inline.h|s/old ^ QUOIT__TAG, /old, /|ring/send spsc_scenarios'
		;;
	# A mark's position is written before its counters.
	mark-early)
		echo 'ring/spsc_producer.c|s/p->mark ^= 1;/&atomic_store_explicit(\&row->mark[p->mark].position, h->position, memory_order_release);/|ring/spsc_producer'
		;;
	# A successor goes on by the hot line.
	no-mark)
		echo 'ring/spsc_producer.c|s/position = take_mark(p);/position = (take_mark(p), h->records = p->ep.row->counters[0], told);/|ring/spsc_producer'
		;;
	*) return 1 ;;
	esac
}

explored=(ring/spsc_producer ring/spsc_consumer
	ring/mpmc ring/mpmc_walk ring/mpmc_producer ring/mpmc_consumer ring/mpmc_ready
	ring/endpoint ring/send ring/recv ring/wait ring/idle ring/reap ring/validate sync/eventcount
	spsc_scenarios mpmc_scenarios wait_scenarios life_scenarios)
flags=(-std=gnu11 -D_GNU_SOURCE -g -O1 -fno-pie -Wall -Wextra -Wno-tsan)
# The compiler tells of every access; a copy that races by design reads byte by byte, as volatile.
watched=(-fsanitize=thread -U__SANITIZE_THREAD__ -DRACY= --param=tsan-distinguish-volatile=1
	--param=tsan-instrument-func-entry-exit=0 -Dmemcpy=explored_memcpy)

# compile SOURCES OBJECTS FLAG... -- FILE...
compile() {
	local from=$1 to=$2 more=() f path
	shift 2

	while [[ $1 != -- ]]; do
		more+=("$1")
		shift
	done
	shift
	for f in "$@"; do
		path=$here/$f.c
		[[ $f == */* ]] && path=$from/$f.c
		gcc "${flags[@]}" "${more[@]}" -I"$from/ring/include" -I"$from" -I"$here" -c "$path" \
			-o "$to/${f##*/}.o" || return 1
	done
}

# sources TO: a copy of the library's sources. Waiting is made shorter, for it only repeats: one
# glance in place of sixteen, and no time to spin.
sources() {
	mkdir -p "$1"
	cp -r "$root/ring" "$root/sync" "$1/"
	sed -i 's/^#define GLANCES .*/#define GLANCES 1/; s/^#define SPIN_MIN_NS .*/#define SPIN_MIN_NS 0/' \
		"$1/ring/wait.c"
}

# build CHANGE: the explorer around the sources, maybe changed.
build() {
	local name=${1:-plain} file expression again before
	local from=$work/src-$name to=$work/objects-$name

	sources "$from"
	if [[ -z $1 ]]; then
		mkdir -p "$to"
		compile "$from" "$to" -- machine hooks search rings &&
			compile "$from" "$to" "${watched[@]}" -- "${explored[@]}" || return 1
	else
		program '' >/dev/null || return 1
		cp -r "$work/objects-plain" "$to"
		IFS='|' read -r file expression again < <(change "$1")
		before=$(cksum <"$from/$file")
		sed -i "$expression" "$from/$file"
		[[ $before != "$(cksum <"$from/$file")" ]] || {
			echo "run.sh: the change $1 does not fit $file any more" >&2
			return 1
		}
		# shellcheck disable=SC2086 # words
		compile "$from" "$to" "${watched[@]}" -- $again || return 1
	fi
	# What is not there is never called; if it is, the explorer says so.
	gcc -no-pie -o "$work/$name" "$to"/*.o -Wl,--unresolved-symbols=ignore-all
}

# program CHANGE: its path; built when first asked for. CHANGE may be empty.
program() {
	local name=${1:-plain}

	[[ -x $work/$name ]] || build "$1" >"$work/$name.log" 2>&1 || {
		cat "$work/$name.log" >&2
		return 1
	}
	echo "$work/$name"
}

# run NAME SCENARIO EXPECTED LEFT-OUT
run() {
	local name=$1 scenario=$2 expected=$3 left_out=$4 path got states ends start

	start=$(date +%s.%N)
	if change "$left_out" >/dev/null; then
		path=$(program "$left_out") || return 1
		left_out=
	else
		path=$(program '') || return 1
	fi
	# shellcheck disable=SC2086 # words
	"$path" "$scenario" $left_out >"$work/report" 2>&1
	read -r got states _ ends <"$work/report"
	printf '%-28s %10s %6s %7.1f  %-8s %s\n' "$name" "${states:--}" "${ends:--}" \
		"$(awk "BEGIN { print $(date +%s.%N) - $start }")" "$expected" \
		"$([[ $got == "$expected" ]] && echo ok || echo "FAILED: $got")"
	[[ $got == "$expected" ]] && return 0
	sed -n '2,5p' "$work/report"
	return 1
}

trap 'exit 130' INT TERM
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
ulimit -c 0

if [[ $(uname -m) != x86_64 ]] || ! command -v gcc >/dev/null; then
	echo "run.sh: needs gcc on x86-64; skipped"
	exit 77
fi
if [[ ${1-} == --replay ]]; then
	IFS='|' read -r _ scenario _ left_out < <(table | awk -F'|' -v n="${2-}" '$1 == n')
	[[ -n ${scenario-} ]] || { echo "run.sh: no such line: ${2-}" >&2; exit 2; }
	if change "$left_out" >/dev/null; then
		path=$(program "$left_out") || exit 1
		left_out=
	else
		path=$(program '') || exit 1
	fi
	# shellcheck disable=SC2086 # words
	TELL=1 "$path" "$scenario" $left_out
	exit
fi
for n in "$@"; do
	table | awk -F'|' -v n="$n" '$1 == n { found = 1 } END { exit !found }' || {
		echo "run.sh: no such line: $n" >&2
		exit 2
	}
done

printf '%-28s %10s %6s %7s  %-8s %s\n' line states ends seconds expected result
passed=0 failed=0
while IFS='|' read -r name scenario expected left_out; do
	if (($#)) && ! printf '%s\n' "$@" | grep -qxF -e "$name"; then
		continue
	fi
	if run "$name" "$scenario" "$expected" "$left_out"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
done < <(table)
echo "$passed passed, $failed failed"
((failed == 0))
