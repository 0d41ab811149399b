# SPDX-License-Identifier: MIT
#
# What the tests of the programs share; sourced, with the folder of the built programs as $1.
# Everything a test makes is named after its process and removed at its end, also when it fails.

set -u -o pipefail
export LC_ALL=C

bin=$(cd "${1:?usage: $0 BIN_DIR}" && pwd)
produce=$bin/quoit-produce
consume=$bin/quoit-consume
tag=test-$(basename "$0" .sh)-$$
scratch=$(mktemp -d "${TMPDIR:-/tmp}/quoit-$tag.XXXXXX")
unset QUOIT_RING
failed=0 checked=0
children=() rings=() files=()

# Every ring that a test makes is registered, so that it goes in any case.
cleanup() {
	local child ring
	for child in "${children[@]}"; do
		kill -KILL "$child" 2>/dev/null
	done
	wait 2>/dev/null
	for ring in "${rings[@]}"; do
		"$bin/quoit" rm "$ring" 2>/dev/null >&2
	done
	rm -rf "$scratch" "${files[@]}"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# new_ring [NAME]: sets $ring to a name nobody else has, or to NAME.
ring_number=0
new_ring() {
	ring=${1:-shm:$tag-$((++ring_number))}
	rings+=("$ring")
}

# Three rings with names of their own in $names.
three_rings() {
	local i
	names=()
	for i in 1 2 3; do
		new_ring
		names+=("$ring")
	done
}

# start COMMAND...: in the background; sets $pid. Standard input and output are the caller's.
start() {
	# Input is said explicitly, or it is /dev/null. 8 and 9 are the tests' ends of FIFOs.
	"$@" <&0 8>&- 9>&- &
	pid=$!
	children+=("$pid")
}

# The exit code of a background process, which must end within 30 s.
finish() {
	local child=$1 i stat
	for ((i = 0; i < 3000; i++)); do
		{ stat=$(<"/proc/$child/stat"); } 2>/dev/null || break
		[[ $stat == *") Z "* ]] && break
		sleep 0.01
	done
	if ((i == 3000)); then
		echo "process $child did not end within 30 s" >&2
		kill -KILL "$child"
	fi
	wait "$child" 2>/dev/null
}

# check WHAT EXPECTED ACTUAL
check() {
	((checked++))
	if [[ $2 == "$3" ]]; then
		echo "ok: $1"
	else
		echo "FAILED: $1: expected '$2', got '$3'"
		failed=1
	fi
}

# check_match WHAT REGEX TEXT
check_match() {
	((checked++))
	if [[ $3 =~ $2 ]]; then
		echo "ok: $1"
	else
		echo "FAILED: $1: '$3' does not match '$2'"
		failed=1
	fi
}

# ends_with STATUS WHAT COMMAND...: within 10 s.
ends_with() {
	local want=$1 what=$2
	shift 2
	timeout 10 "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
	check "$what: exit code" "$want" $?
}

# check_same WHAT FILE FILE
check_same() {
	check "$1" "$(sha256sum <"$2")" "$(sha256sum <"$3")"
}

# until_true COMMAND...: at most 10 s.
until_true() {
	local i
	for ((i = 0; i < 1000; i++)); do
		"$@" && return 0
		sleep 0.01
	done
	return 1
}

# until_stat RING REGEX: until 'quoit stat --json' of the ring matches.
stat_matches() {
	[[ $("$bin/quoit" stat --json "$1" 2>/dev/null) =~ $2 ]]
}
until_stat() {
	until_true stat_matches "$@" || echo "$1 never showed $2" >&2
}
produced='"produced":\{"records":[1-9]'
consumed='"consumed":\{"records":[1-9]'

# How many records producers have committed to a ring.
records_in() {
	local stat
	stat=$("$bin/quoit" stat --json "$1" 2>/dev/null) &&
		[[ $stat =~ \"produced\":\{\"records\":([0-9]+) ]] && echo "${BASH_REMATCH[1]}" || echo 0
}
more_than() {
	(($(records_in "$1") > $2))
}

# A number out of a summary that --summary wrote.
number() {
	sed -n "s/.*\"$2\": \(-\{0,1\}[0-9.]*\).*/\1/p" "$1"
}

# Exit code 77: nothing could be asked here.
done_testing() {
	((checked != 0 || failed != 0)) || exit 77
	echo "$(basename "$0"): $checked checks, $([[ $failed == 0 ]] && echo all passed || echo FAILED)"
	exit $failed
}
