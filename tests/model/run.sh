#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Checks the Spin models, and that the checker objects to every one of them when a rule is broken.
#
#   run.sh [--quick|--full] [NAME]...   NAME: a model, or one configuration as the table below has it
#   run.sh --replay NAME                tells the shortest counterexample of a configuration
#
# Prints a line for each configuration and, at the end, how many passed. Exit code 0: all; 1: not;
# 77: spin or gcc is not installed. --quick, the default where nothing is named, takes a minute or two;
# --full half an hour, and 4 GB of memory.

set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
memory_mb=3900

# set | model | name | expected | flags. "holds": no error in any reachable state. "ends": nor any
# infinite run. "fails": an error must be found.
table() {
	cat <<'END'
quick|mpmc|mpmc|holds|
quick|mpmc|mpmc-ends|ends|
quick|mpmc|mpmc-stop|holds|-DSTOPS=1 -DVICTIMS=1
quick|mpmc|mpmc-stop-reader|holds|-DNP=1 -DNC=2 -DZC=3 -DQUOTA=3 -DSTOPS=1 -DVICTIMS=2
full|mpmc|mpmc-stop-3|holds|-DN=3 -DNP=3 -DQUOTA=1 -DSTOPS=1 -DVICTIMS=1
quick|mpmc|mpmc-kill|holds|-DZC=1 -DKILLS=1 -DQUOTA=1
quick|mpmc|mpmc-kill-reader|holds|-DNP=1 -DNC=2 -DZC=1 -DKILLS=1 -DRKILLS=1 -DVICTIMS=2
full|mpmc|mpmc-kill-readers|holds|-DNP=1 -DNC=2 -DZC=3 -DKILLS=2 -DVICTIMS=6
quick|mpmc|mpmc-reservations|holds|-DN=3 -DRES2
quick|mpmc|mpmc-close|holds|-DNP=1 -DNC=2 -DZC=3 -DQUOTA=3 -DGIVEBACKS=1
full|mpmc|mpmc-in-place|holds|-DZC=1
full|mpmc|mpmc-3-slots|holds|-DN=3 -DZC=1 -DSTOPS=1
full|mpmc|mpmc-4-slots|holds|-DN=4 -DSTOPS=1 -DVICTIMS=1
full|mpmc|mpmc-stop-ends|ends|-DSTOPS=1
full|mpmc|mpmc-reservations-end|ends|-DN=3 -DRES2
full|mpmc|mpmc-reservations-stop|holds|-DN=3 -DRES2 -DSTOPS=1 -DVICTIMS=1
full|mpmc|mpmc-any-order|holds|-DN=3 -DRES2 -DANY_ORDER
full|mpmc|mpmc-discard|holds|-DDISCARDS=1
full|mpmc|mpmc-discards|holds|-DDISCARDS=2
full|mpmc|mpmc-kill-any|holds|-DZC=1 -DKILLS=1
full|mpmc|mpmc-kill-reaper|holds|-DZC=1 -DKILLS=1 -DRKILLS=1 -DVICTIMS=5
full|mpmc|mpmc-kill-3-slots|holds|-DN=3 -DZC=1 -DKILLS=1
full|mpmc|mpmc-kill-and-stop|holds|-DN=3 -DQUOTA=1 -DZC=1 -DKILLS=1 -DSTOPS=1
full|mpmc|mpmc-reborn|holds|-DKILLS=1 -DVICTIMS=1 -DREBORN
full|mpmc|mpmc-two-readers|holds|-DNC=2 -DZC=1 -DQUOTA=1 -DKILLS=1
quick|mpmc|mpmc/anonymous|fails|-DKILLS=1 -DVICTIMS=1 -DBREAK_ANONYMOUS
quick|mpmc|mpmc/claim-store|fails|-DBREAK_CLAIM_STORE
quick|mpmc|mpmc/commit-store|fails|-DBREAK_COMMIT_STORE
quick|mpmc|mpmc/release-store|fails|-DZC=1 -DQUOTA=3 -DBREAK_RELEASE_STORE
quick|mpmc|mpmc/reap-store|fails|-DNP=1 -DNC=2 -DZC=3 -DQUOTA=3 -DKILLS=1 -DBREAK_REAP_BLIND
quick|mpmc|mpmc/no-lookahead|fails|-DZC=1 -DBREAK_NO_LOOKAHEAD
full|mpmc|mpmc/lent-impatient|fails|-DN=3 -DNC=2 -DZC=1 -DSTOPS=2 -DVICTIMS=5 -DDISCARDS=1 -DQUOTA_FIRST=1 -DBREAK_LENT_IMPATIENT
quick|mpmc|mpmc/no-help|fails|-DN=3 -DRES2 -DBREAK_NO_HELP
quick|mpmc|mpmc/no-reorder|fails|-DN=3 -DRES2 -DBREAK_NO_REORDER
quick|mpmc|mpmc/hint-leads|fails|-DBREAK_HINT_LEADS
quick|mpmc|mpmc/bump-before|fails|-DNP=1 -DNC=2 -DZC=3 -DKILLS=1 -DVICTIMS=6 -DBREAK_BUMP_BEFORE
quick|mpmc|mpmc/bump-if-turned|fails|-DNP=1 -DNC=2 -DZC=3 -DKILLS=1 -DRKILLS=1 -DVICTIMS=6 -DBREAK_BUMP_IF_TURNED
quick|mpmc|mpmc/scan-all|fails|-DNP=1 -DBREAK_SCAN_ALL
quick|mpmc|mpmc/seen-early|fails|-DNP=1 -DNC=2 -DZC=3 -DGIVEBACKS=1 -DKILLS=1 -DVICTIMS=4 -DBREAK_SEEN_EARLY
quick|mpmc|mpmc/seen-at-open|fails|-DNP=1 -DNC=2 -DZC=3 -DGIVEBACKS=1 -DSTOPS=1 -DVICTIMS=4 -DBREAK_FRESH_SEEN
quick|mpmc|mpmc/close-no-bump|fails|-DNP=1 -DNC=2 -DZC=3 -DGIVEBACKS=1 -DSTOPS=1 -DVICTIMS=2 -DBREAK_CLOSE_NO_BUMP
quick|mpmc|mpmc/never-waits|fails-to-end|-DBREAK_NEVER_WAITS
quick|eventcount|eventcount|holds|
quick|eventcount|eventcount-fence|holds|-DFENCE
quick|eventcount|eventcount-kill|holds|-DQUOTA=1 -DKILLS=1
quick|eventcount|eventcount-sem|holds|-DQUOTA=1 -DSEM
quick|eventcount|eventcount-sysv|holds|-DQUOTA=1 -DSYSV -DKILLS=1
full|eventcount|eventcount-sem-kill|holds|-DQUOTA=1 -DSEM -DKILLS=1
full|eventcount|eventcount-kills|holds|-DKILLS=1
full|eventcount|eventcount-3-sleepers|holds|-DSLEEPERS=3 -DWAKERS=1 -DQUOTA=3 -DKILLS=1
full|eventcount|eventcount-3-wakers|holds|-DSLEEPERS=1 -DWAKERS=3
full|eventcount|eventcount-sems|holds|-DSEM
full|eventcount|eventcount-sysvs|holds|-DSYSV
quick|eventcount|eventcount/no-recheck|fails|-DBREAK_NO_RECHECK
quick|eventcount|eventcount/no-membarrier|fails|-DBREAK_NO_MEMBARRIER
quick|eventcount|eventcount/announce-store|fails|-DKILLS=1 -DVICTIMS=3 -DBREAK_ANNOUNCE_STORE
quick|eventcount|eventcount/clear-only|fails|-DBREAK_CLEAR_ONLY
quick|eventcount|eventcount/sleep-blindly|fails|-DBREAK_SLEEP_BLINDLY
quick|eventcount|eventcount/value-late|fails|-DSYSV -DBREAK_VALUE_LATE
quick|eventcount|eventcount/wake-first|fails|-DBREAK_WAKE_FIRST
quick|eventcount|eventcount/wake-one|fails|-DKILLS=1 -DVICTIMS=3 -DBREAK_WAKE_ONE
quick|spsc|spsc|holds|
full|spsc|spsc-short|holds|-DSHORT
quick|spsc|spsc-kill|holds|-DQUOTA=4 -DPKILLS=1 -DCKILLS=1
quick|spsc|spsc-batch|holds|-DBATCH=2 -DPKILLS=1
full|spsc|spsc-batch-short|holds|-DBATCH=2 -DSHORT -DPKILLS=1
full|spsc|spsc-kills|holds|-DPKILLS=2 -DCKILLS=2
full|spsc|spsc-8|holds|-DCAP=8 -DQUOTA=4 -DPMAX=3 -DPKILLS=1
full|spsc|spsc-8-kills|holds|-DCAP=8 -DQUOTA=4 -DPMAX=2 -DPKILLS=1 -DCKILLS=1
quick|spsc|spsc/no-clear|fails|-DBREAK_NO_CLEAR
quick|spsc|spsc/clear-late|fails|-DBREAK_CLEAR_LATE
quick|spsc|spsc/no-walk|fails|-DPKILLS=1 -DBREAK_NO_WALK
quick|spsc|spsc/open-strict|fails|-DPKILLS=1 -DBREAK_OPEN_STRICT
quick|spsc|spsc/position-first|fails|-DPKILLS=1 -DBREAK_POSITION_FIRST
quick|spsc|spsc/relaxed|fails|-DBREAK_RELAXED
quick|spsc|spsc/head-early|fails|-DBREAK_HEAD_EARLY
quick|spsc|spsc/empty-keeps|fails|-DCAP=8 -DPMAX=2 -DBREAK_EMPTY_KEEPS
quick|spsc|spsc/no-init|fails|-DBREAK_NO_INIT
quick|recovery|recovery|holds|
quick|recovery|recovery-kill|holds|-DKILLS=1
quick|recovery|recovery-reader|holds|-DPRODUCERS=1 -DREADER -DSENDS=2 -DKILLS=1
quick|recovery|recovery-repairers|holds|-DPRODUCERS=1 -DROWS=2 -DLIVES=2 -DKILLS=1 -DREPAIRERS=2 -DRKILLS=1
quick|recovery|recovery-late|holds|-DLATE
full|recovery|recovery-lives|holds|-DLIVES=2
full|recovery|recovery-repairer|holds|-DKILLS=1 -DREPAIRERS=1 -DRKILLS=1
full|recovery|recovery-readers|holds|-DPRODUCERS=1 -DREADER -DSENDS=2 -DKILLS=2 -DREPAIRERS=1
quick|recovery|recovery/no-generation|fails|-DLIVES=2 -DBREAK_NO_GENERATION
quick|recovery|recovery/no-generation-late|fails|-DLATE -DPRODUCERS=1 -DBREAK_NO_GENERATION
quick|recovery|recovery/no-death-recheck|fails|-DKILLS=1 -DREPAIRERS=1 -DBREAK_NO_DEATH_RECHECK
quick|recovery|recovery/no-forced-reap|fails|-DPRODUCERS=1 -DREADER -DKILLS=1 -DBREAK_NO_FORCED_REAP
quick|recovery|recovery/free-first|fails|-DKILLS=1 -DREPAIRERS=1 -DRKILLS=1 -DBREAK_FREE_FIRST
quick|recovery|recovery/no-lock|fails|-DPRODUCERS=1 -DREPAIRERS=1 -DBREAK_NO_LOCK
quick|recovery|recovery/no-recheck|fails|-DPRODUCERS=1 -DLIVES=2 -DKILLS=1 -DREPAIRERS=2 -DBREAK_NO_RECHECK
quick|create_file|create-file|holds|-DREMOVERS=2 -DKILLS=2
quick|create_file|create-file/publish-first|fails|-DBREAK_PUBLISH_FIRST
quick|create_file|create-file/replace|fails|-DREMOVERS=0 -DBREAK_REPLACE
quick|create_file|create-file/by-name|fails|-DBREAK_BY_NAME
quick|create_file|create-file/no-lock|fails|-DREMOVERS=2 -DBREAK_NO_LOCK
quick|create_sysv|create-sysv|holds|-DKILLS=1
quick|create_sysv|create-sysv-kills|holds|-DREMOVERS=0 -DKILLS=2
quick|create_sysv|create-sysv-removers|holds|-DREMOVERS=2
full|create_sysv|create-sysv-all|holds|-DREMOVERS=2 -DKILLS=2
quick|create_sysv|create-sysv/publish-first|fails|-DBREAK_PUBLISH_FIRST
quick|create_sysv|create-sysv/no-creator-lock|fails|-DKILLS=1 -DBREAK_NO_CREATOR_LOCK
quick|create_sysv|create-sysv/stale-mark|fails|-DKILLS=1 -DBREAK_STALE_MARK
quick|create_sysv|create-sysv/no-second-look|fails|-DBREAK_NO_SECOND_LOOK
quick|create_sysv|create-sysv/by-key|fails|-DREMOVERS=2 -DBREAK_BY_KEY
END
}

usage() {
	sed -n '/^#   run/s/^# *//p' "${BASH_SOURCE[0]}" >&2
	exit 2
}

# build MODEL EXPECTED FLAGS: the verifier, as ./pan.
build() {
	local model=$1 expected=$2 kind=-DSAFETY optimise=-O1

	[[ $expected == ends || $expected == fails-to-end ]] && kind=-DNP
	[[ $expected == fails* ]] && optimise=-O0
	cp "$here/$model.pml" . || return 1
	# shellcheck disable=SC2086 # flags are words
	spin -a $3 "$model.pml" >spin.log 2>&1 || return 1
	gcc $optimise -w $kind -DCOLLAPSE -DNOFAIR -DMEMLIM=$memory_mb -o pan pan.c >gcc.log 2>&1
}

# judge EXPECTED: what ./pan found, from its report.
judge() {
	local report=$1

	# Ended early, for want of memory or depth or by a signal: no verdict.
	if ! grep -q 'errors: [0-9]' "$report" || grep -qi 'out of memory\|depth too small' "$report"; then
		echo unknown
	elif grep -q 'errors: 0' "$report"; then
		# The last process must have judged, or nothing was.
		if grep -A40 'unreached in proctype judge' "$report" | grep -q '"-end-"\|assert'; then
			echo vacuous
		else
			echo holds
		fi
	else
		echo fails
	fi
}

# check SET MODEL NAME EXPECTED FLAGS: one line of the table.
check() {
	local model=$2 name=$3 expected=$4 flags=$5 wanted=holds options="-E -m100000 -w24" got states depth start

	[[ $expected == fails* ]] && wanted=fails
	[[ $expected == ends || $expected == fails-to-end ]] && options+=" -l"
	start=$(date +%s.%N)
	if build "$model" "$expected" "$flags"; then
		# shellcheck disable=SC2086 # options are words
		./pan $options >report 2>&1
		got=$(judge report)
	else
		: >report
		got=unbuilt
	fi
	states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' report)
	depth=$(sed -n 's/.*depth reached \([0-9]*\),.*/\1/p' report)
	printf '%-28s %10s %6s %7.1f  %-12s %s\n' "$name" "${states:--}" "${depth:--}" \
		"$(awk "BEGIN { print $(date +%s.%N) - $start }")" "$expected" \
		"$([[ $got == "$wanted" ]] && echo ok || echo "FAILED: $got")"
	[[ $got == "$wanted" ]] && return 0
	cat spin.log gcc.log 2>/dev/null | head -20
	grep -m3 '^pan' report
	return 1
}

# Tell the shortest counterexample of one configuration.
replay() {
	local line model name expected flags _

	line=$(table | awk -F'|' -v n="$1" '$3 == n')
	[[ -n $line ]] || { echo "run.sh: no such configuration: $1" >&2; exit 2; }
	IFS='|' read -r _ model name expected flags <<<"$line"
	build "$model" "$expected" "$flags" || { cat spin.log gcc.log 2>/dev/null; exit 1; }
	if [[ $expected == ends || $expected == fails-to-end ]]; then
		./pan -E -l -m100000 >report 2>&1
	else
		./pan -E -i -m10000 >report 2>&1
	fi
	[[ -f $model.pml.trail ]] || { echo "$name: no error found"; exit 0; }
	# shellcheck disable=SC2086 # flags are words
	spin -k "$model.pml.trail" $flags "$model.pml" | grep -v 'is newer than'
}

trap 'exit 130' INT TERM
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

sets= names=() told=
while (($#)); do
	case $1 in
	--quick) sets=quick ;;
	--full) sets='quick|full' ;;
	--replay) (($# == 2)) || usage; told=$2; shift ;;
	-*) usage ;;
	*) names+=("$1") ;;
	esac
	shift
done
for tool in spin gcc; do
	command -v $tool >/dev/null || { echo "run.sh: $tool is not installed; skipped"; exit 77; }
done
if [[ -n $told ]]; then
	cd "$work" && replay "$told"
	exit
fi
for n in "${names[@]}"; do
	table | awk -F'|' -v n="$n" '$2 == n || $3 == n { found = 1 } END { exit !found }' || {
		echo "run.sh: no such model or configuration: $n" >&2
		exit 2
	}
	sets=${sets:-quick|full}
done
sets=${sets:-quick}

printf '%-28s %10s %6s %7s  %-12s %s\n' configuration states depth seconds expected result
passed=0 failed=0
while IFS='|' read -r set model name expected flags; do
	[[ $set =~ ^($sets)$ ]] || continue
	if ((${#names[@]})) && ! printf '%s\n' "${names[@]}" | grep -qxF -e "$model" -e "$name"; then
		continue
	fi
	mkdir "$work/now" && cd "$work/now" || exit 1
	if check "$set" "$model" "$name" "$expected" "$flags"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
	cd "$work" && rm -rf now
done < <(table)
echo "$passed passed, $failed failed"
((failed == 0))
