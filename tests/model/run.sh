#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Checks the Spin models, and that the checker objects to every one of them when a rule is broken.
#
#   run.sh [--quick|--full] [NAME]...   NAME: a model, or one configuration, see table() below
#   run.sh --replay NAME                tells the shortest counterexample of a configuration
#
# Prints a line for each configuration and, at the end, how many passed. Exit code 0: all; 1: not;
# 77: spin or gcc is not installed. --quick, the default where nothing is named, takes a minute or
# two; --full a quarter of an hour, and up to 4 GB of memory.

set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
memory_mb=3900

# set | model | name | expected | flags. "holds": no error in any reachable state. "ends": nor any
# infinite run. "fails": an error must be found. Flags are
# macros, without -D.
table() {
	cat <<'END'
quick|mpmc|mpmc|holds|
quick|mpmc|mpmc-ends|ends|
quick|mpmc|mpmc-stop|holds|STOPS=1 VICTIMS=1
quick|mpmc|mpmc-stop-reader|holds|NP=1 NC=2 ZC=3 QUOTA=3 STOPS=1 VICTIMS=2
full|mpmc|mpmc-stop-3|holds|N=3 NP=3 QUOTA=1 STOPS=1 VICTIMS=1
quick|mpmc|mpmc-kill|holds|ZC=1 KILLS=1 QUOTA=1
quick|mpmc|mpmc-kill-reader|holds|NP=1 NC=2 ZC=1 KILLS=1 RKILLS=1 VICTIMS=2
full|mpmc|mpmc-kill-readers|holds|NP=1 NC=2 ZC=3 KILLS=2 VICTIMS=6
quick|mpmc|mpmc-reservations|holds|N=3 RES2
quick|mpmc|mpmc-close|holds|NP=1 NC=2 ZC=3 QUOTA=3 GIVEBACKS=1
full|mpmc|mpmc-in-place|holds|ZC=1
full|mpmc|mpmc-3-slots|holds|N=3 ZC=1 STOPS=1
full|mpmc|mpmc-4-slots|holds|N=4 STOPS=1 VICTIMS=1
full|mpmc|mpmc-stop-ends|ends|STOPS=1
full|mpmc|mpmc-reservations-end|ends|N=3 RES2
full|mpmc|mpmc-reservations-stop|holds|N=3 RES2 STOPS=1 VICTIMS=1
full|mpmc|mpmc-any-order|holds|N=3 RES2 ANY_ORDER
full|mpmc|mpmc-discard|holds|DISCARDS=1
full|mpmc|mpmc-discards|holds|DISCARDS=2
full|mpmc|mpmc-kill-any|holds|ZC=1 KILLS=1
full|mpmc|mpmc-kill-reaper|holds|ZC=1 KILLS=1 RKILLS=1 VICTIMS=5
full|mpmc|mpmc-kill-3-slots|holds|N=3 ZC=1 KILLS=1
full|mpmc|mpmc-kill-and-stop|holds|N=3 QUOTA=1 ZC=1 KILLS=1 STOPS=1
full|mpmc|mpmc-reborn|holds|KILLS=1 VICTIMS=1 REBORN
full|mpmc|mpmc-two-readers|holds|NC=2 ZC=1 QUOTA=1 KILLS=1
quick|mpmc|mpmc/anonymous|fails|KILLS=1 VICTIMS=1 BREAK_ANONYMOUS
quick|mpmc|mpmc/claim-store|fails|BREAK_CLAIM_STORE
quick|mpmc|mpmc/commit-store|fails|BREAK_COMMIT_STORE
quick|mpmc|mpmc/release-store|fails|ZC=1 QUOTA=3 BREAK_RELEASE_STORE
quick|mpmc|mpmc/reap-store|fails|NP=1 NC=2 ZC=3 QUOTA=3 KILLS=1 BREAK_REAP_BLIND
quick|mpmc|mpmc/no-lookahead|fails|ZC=1 BREAK_NO_LOOKAHEAD
full|mpmc|mpmc/lent-impatient|fails|N=3 NC=2 ZC=1 STOPS=2 VICTIMS=5 DISCARDS=1 QUOTA_FIRST=1 BREAK_LENT_IMPATIENT
quick|mpmc|mpmc/no-help|fails|N=3 RES2 BREAK_NO_HELP
quick|mpmc|mpmc/no-reorder|fails|N=3 RES2 BREAK_NO_REORDER
quick|mpmc|mpmc/hint-leads|fails|BREAK_HINT_LEADS
quick|mpmc|mpmc/bump-before|fails|NP=1 NC=2 ZC=3 KILLS=1 VICTIMS=6 BREAK_BUMP_BEFORE
quick|mpmc|mpmc/bump-if-turned|fails|NP=1 NC=2 ZC=3 KILLS=1 RKILLS=1 VICTIMS=6 BREAK_BUMP_IF_TURNED
quick|mpmc|mpmc/scan-all|fails|NP=1 BREAK_SCAN_ALL
quick|mpmc|mpmc/seen-early|fails|NP=1 NC=2 ZC=3 GIVEBACKS=1 KILLS=1 VICTIMS=4 BREAK_SEEN_EARLY
quick|mpmc|mpmc/seen-at-open|fails|NP=1 NC=2 ZC=3 GIVEBACKS=1 STOPS=1 VICTIMS=4 BREAK_FRESH_SEEN
quick|mpmc|mpmc/close-no-bump|fails|NP=1 NC=2 ZC=3 GIVEBACKS=1 STOPS=1 VICTIMS=2 BREAK_CLOSE_NO_BUMP
quick|mpmc|mpmc/never-waits|fails-to-end|BREAK_NEVER_WAITS
quick|eventcount|eventcount|holds|
quick|eventcount|eventcount-fence|holds|FENCE
quick|eventcount|eventcount-kill|holds|QUOTA=1 KILLS=1
quick|eventcount|eventcount-sem|holds|QUOTA=1 SEM
quick|eventcount|eventcount-sysv|holds|QUOTA=1 SYSV KILLS=1
full|eventcount|eventcount-sem-kill|holds|QUOTA=1 SEM KILLS=1
full|eventcount|eventcount-kills|holds|KILLS=1
full|eventcount|eventcount-3-sleepers|holds|SLEEPERS=3 WAKERS=1 QUOTA=3 KILLS=1
full|eventcount|eventcount-3-wakers|holds|SLEEPERS=1 WAKERS=3
full|eventcount|eventcount-sems|holds|SEM
full|eventcount|eventcount-sysvs|holds|SYSV
quick|eventcount|eventcount/no-recheck|fails|BREAK_NO_RECHECK
quick|eventcount|eventcount/no-membarrier|fails|BREAK_NO_MEMBARRIER
quick|eventcount|eventcount/announce-store|fails|KILLS=1 VICTIMS=3 BREAK_ANNOUNCE_STORE
quick|eventcount|eventcount/clear-only|fails|BREAK_CLEAR_ONLY
quick|eventcount|eventcount/sleep-blindly|fails|BREAK_SLEEP_BLINDLY
quick|eventcount|eventcount/value-late|fails|SYSV BREAK_VALUE_LATE
quick|eventcount|eventcount/wake-first|fails|BREAK_WAKE_FIRST
quick|eventcount|eventcount/wake-one|fails|KILLS=1 VICTIMS=3 BREAK_WAKE_ONE
quick|spsc|spsc|holds|
full|spsc|spsc-short|holds|SHORT
quick|spsc|spsc-kill|holds|QUOTA=4 PKILLS=1 CKILLS=1
quick|spsc|spsc-batch|holds|BATCH=2 PKILLS=1
full|spsc|spsc-batch-short|holds|BATCH=2 SHORT PKILLS=1
full|spsc|spsc-kills|holds|PKILLS=2 CKILLS=2
full|spsc|spsc-8|holds|CAP=8 QUOTA=4 PMAX=3 PKILLS=1
full|spsc|spsc-8-kills|holds|CAP=8 QUOTA=4 PMAX=2 PKILLS=1 CKILLS=1
quick|spsc|spsc/no-clear|fails|BREAK_NO_CLEAR
quick|spsc|spsc/clear-late|fails|BREAK_CLEAR_LATE
quick|spsc|spsc/no-walk|fails|PKILLS=1 BREAK_NO_WALK
quick|spsc|spsc/open-strict|fails|PKILLS=1 BREAK_OPEN_STRICT
quick|spsc|spsc/position-first|fails|PKILLS=1 BREAK_POSITION_FIRST
quick|spsc|spsc/relaxed|fails|BREAK_RELAXED
quick|spsc|spsc/head-early|fails|BREAK_HEAD_EARLY
quick|spsc|spsc/empty-keeps|fails|CAP=8 PMAX=2 BREAK_EMPTY_KEEPS
quick|spsc|spsc/no-init|fails|BREAK_NO_INIT
quick|recovery|recovery|holds|
quick|recovery|recovery-kill|holds|KILLS=1
quick|recovery|recovery-reader|holds|PRODUCERS=1 READER SENDS=2 KILLS=1
quick|recovery|recovery-repairers|holds|PRODUCERS=1 ROWS=2 LIVES=2 KILLS=1 REPAIRERS=2 RKILLS=1
quick|recovery|recovery-late|holds|LATE
full|recovery|recovery-lives|holds|LIVES=2
full|recovery|recovery-repairer|holds|KILLS=1 REPAIRERS=1 RKILLS=1
full|recovery|recovery-readers|holds|PRODUCERS=1 READER SENDS=2 KILLS=2 REPAIRERS=1
quick|recovery|recovery/no-generation|fails|LIVES=2 BREAK_NO_GENERATION
quick|recovery|recovery/no-generation-late|fails|LATE PRODUCERS=1 BREAK_NO_GENERATION
quick|recovery|recovery/no-death-recheck|fails|KILLS=1 REPAIRERS=1 BREAK_NO_DEATH_RECHECK
quick|recovery|recovery/no-forced-reap|fails|PRODUCERS=1 READER KILLS=1 BREAK_NO_FORCED_REAP
quick|recovery|recovery/free-first|fails|KILLS=1 REPAIRERS=1 RKILLS=1 BREAK_FREE_FIRST
quick|recovery|recovery/no-lock|fails|PRODUCERS=1 REPAIRERS=1 BREAK_NO_LOCK
quick|recovery|recovery/no-recheck|fails|PRODUCERS=1 LIVES=2 KILLS=1 REPAIRERS=2 BREAK_NO_RECHECK
quick|heap|heap|holds|LIVES=2
quick|heap|heap-skip-pending|holds|LIVES=2 SKIP_PENDING
quick|heap|heap-kills|holds|LIVES=2 KILLS=2
full|heap|heap-lives|holds|
full|heap|heap-records|holds|LIVES=2 QUOTA=2
quick|heap|heap/no-generation|fails|LIVES=2 BREAK_NO_GENERATION
full|heap|heap/same-generation|fails|LIVES=2 QUOTA=2 BREAK_SAME_GENERATION
quick|heap|heap/orphan-first|fails|LIVES=2 SKIP_PENDING BREAK_ORPHAN_FIRST
quick|heap|heap/lend-early|fails|LIVES=2 BREAK_LEND_EARLY
quick|heap|heap/no-walk|fails|LIVES=2 BREAK_NO_WALK
quick|heap|heap/reading-is-gone|fails|LIVES=1 QUOTA=2 KILLS=0 BREAK_READING_IS_GONE
quick|pollset|pollset|holds|
quick|pollset|pollset-hello|holds|HELLO
quick|pollset|pollset-kill|holds|MEMBERS=1 KILLS=1
quick|pollset|pollset-poller|holds|MEMBERS=1 WAKERS=1 POLLER
quick|pollset|pollset-line|holds|MEMBERS=1 WAKERS=1 WAITERS=2
quick|pollset|pollset-remove|holds|MEMBERS=1 WAKERS=1 REMOVER
full|pollset|pollset-poller-kill|holds|MEMBERS=1 WAKERS=1 QUOTA=2 POLLER KILLS=1
full|pollset|pollset-line-2-records|holds|MEMBERS=1 WAKERS=1 QUOTA=2 WAITERS=2
full|pollset|pollset-remove-poller|holds|MEMBERS=1 WAKERS=1 REMOVER POLLER
quick|pollset|pollset/no-recheck|fails|MEMBERS=1 WAKERS=1 BREAK_NO_RECHECK
quick|pollset|pollset/arm-blindly|fails|MEMBERS=1 WAKERS=1 BREAK_ARM_BLINDLY
quick|pollset|pollset/mark-late|fails|MEMBERS=1 WAKERS=1 BREAK_MARK_LATE
quick|pollset|pollset/no-grace|fails|MEMBERS=1 WAKERS=1 REMOVER BREAK_NO_GRACE
quick|pollset|pollset/let-go-store|fails|MEMBERS=1 WAKERS=1 REMOVER BREAK_LET_GO_STORE
quick|pollset|pollset/close-held|fails|MEMBERS=1 WAKERS=1 REMOVER BREAK_CLOSE_HELD
quick|pollset|pollset/marked-only|fails|MEMBERS=1 WAKERS=1 QUOTA=2 POLLER BREAK_MARKED_ONLY
quick|pollset|pollset/vain-blind|fails|MEMBERS=1 WAKERS=1 QUOTA=2 POLLER BREAK_VAIN_BLIND
quick|pollset|pollset/done-blind|fails|MEMBERS=1 WAKERS=1 QUOTA=2 POLLER BREAK_DONE_BLIND
quick|pollset|pollset/line-blind|fails|MEMBERS=1 WAKERS=1 QUOTA=2 WAITERS=2 BREAK_LINE_BLIND
quick|pollset|pollset/no-news|fails|MEMBERS=1 WAKERS=1 QUOTA=2 POLLER BREAK_NO_NEWS
quick|pollset|pollset/sweep-no-news|fails|MEMBERS=1 WAKERS=1 QUOTA=2 POLLER KILLS=1 BREAK_SWEEP_NO_NEWS
quick|pollset|pollset/no-sweep|fails|MEMBERS=1 WAKERS=1 KILLS=1 BREAK_NO_SWEEP
quick|pollset|pollset/no-catch-up|fails|HELLO BREAK_NO_CATCH_UP
quick|create_file|create-file|holds|REMOVERS=2 KILLS=2
quick|create_file|create-file/publish-first|fails|BREAK_PUBLISH_FIRST
quick|create_file|create-file/replace|fails|REMOVERS=0 BREAK_REPLACE
quick|create_file|create-file/by-name|fails|BREAK_BY_NAME
quick|create_file|create-file/no-lock|fails|REMOVERS=2 BREAK_NO_LOCK
quick|create_sysv|create-sysv|holds|KILLS=1
quick|create_sysv|create-sysv-kills|holds|REMOVERS=0 KILLS=2
quick|create_sysv|create-sysv-removers|holds|REMOVERS=2
full|create_sysv|create-sysv-all|holds|REMOVERS=2 KILLS=2
quick|create_sysv|create-sysv/publish-first|fails|BREAK_PUBLISH_FIRST
quick|create_sysv|create-sysv/no-creator-lock|fails|KILLS=1 BREAK_NO_CREATOR_LOCK
quick|create_sysv|create-sysv/stale-mark|fails|KILLS=1 BREAK_STALE_MARK
quick|create_sysv|create-sysv/no-second-look|fails|BREAK_NO_SECOND_LOOK
quick|create_sysv|create-sysv/by-key|fails|REMOVERS=2 BREAK_BY_KEY
END
}

usage() {
	sed -n '/^#   run/s/^# *//p' "${BASH_SOURCE[0]}" >&2
	exit 2
}

# The flags as spin wants them.
macros() {
	local word

	for word in $1; do
		echo "-D$word"
	done
}

# build MODEL EXPECTED FLAGS: the verifier, as ./pan.
build() {
	local model=$1 expected=$2 kind=-DSAFETY optimise=-O1

	[[ $expected == ends || $expected == fails-to-end ]] && kind=-DNP
	[[ $expected == fails* ]] && optimise=-O0
	cp "$here/$model"*.pml . || return 1
	# shellcheck disable=SC2046 # flags are words
	spin -a $(macros "$3") "$model.pml" >spin.log 2>&1 || return 1
	gcc $optimise -w $kind -DCOLLAPSE -DNOFAIR -DMEMLIM=$memory_mb -o pan pan.c >gcc.log 2>&1
}

# judge EXPECTED: what ./pan found, from its report.
judge() {
	local report=$1

	# Ended early, for want of memory or depth or by a signal: no verdict.
	if ! grep -q 'errors: [0-9]' "$report" ||
		{ grep -q 'errors: 0' "$report" && grep -q 'Search not completed' "$report"; }; then
		echo unknown
	elif grep -q 'errors: 0' "$report"; then
		# The last process must have judged, or nothing was.
		if grep -A40 'unreached in proctype judge' "$report" |
			grep -q '"-end-"\|assert'; then
			echo vacuous
		else
			echo holds
		fi
	else
		echo fails
	fi
}

# check MODEL NAME EXPECTED FLAGS: one line of the table.
check() {
	local model=$1 name=$2 expected=$3 flags=$4 wanted=holds options="-E -m100000 -w24"
	local got states depth start

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
	# shellcheck disable=SC2046 # flags are words
	spin -T -k "$model.pml.trail" $(macros "$flags") "$model.pml" | grep -v 'is newer than'
}

trap 'exit 130' INT TERM
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

sets='' names=() told=''
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
	if ((${#names[@]})) &&
		! printf '%s\n' "${names[@]}" | grep -qxF -e "$model" -e "$name"; then
		continue
	fi
	mkdir "$work/now" && cd "$work/now" || exit 1
	if check "$model" "$name" "$expected" "$flags"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
	cd "$work" && rm -rf now
done < <(table)
echo "$passed passed, $failed failed"
((failed == 0))
