#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Kill processes at every instruction, and make the tables of docs/CRASH.md of it.
#
#   scripts/crash.sh [TABLE...]             build, run these tables, or all, and sum them up
#   scripts/crash.sh --quick [TABLE...]     the same by samples: minutes in place of hours
#   scripts/crash.sh [TABLE...] -- ARG...   with more arguments for the programs that kill
#   scripts/crash.sh --list                 the tables, and what each asks
#
#   --into FILE   put the tables into FILE, between <!-- crash TABLE --> and <!-- /crash TABLE -->
#   --out DIR     keep the rows there, a file for each table (crash-rows)
#   --sum         run nothing: sum up the rows that are there
#   --build DIR   use what has been built there
#   --jobs N      rows at one time (four for each processor)
#
# The last arguments narrow a table, `scripts/crash.sh hot -- --op send --backend sysv`, or sample
# it: `-- --stride 7`. Ends with a line "N kills in N rows, N failed"; exit code 1 if one did.
# Soaks, recovery, fuzzing and negative controls are commands of their own: docs/CRASH.md.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

tables=(hot asleep waits wake sets life whole repair pairs two heap)
hot=reserve,commit,discard,send,send-batch,peek,advance,recv,recv-batch
awake=empty,half,full,wrap,lent,large
asleep=futex,sem,sysvsem,eventfd

quick=no sum=no build='' into='' out=crash-rows jobs=$((4 * $(nproc))) extra=() wanted=()

usage() {
	sed -n '4,20s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

describe() {
	case $1 in
	hot) echo "reading and writing, every instruction" ;;
	asleep) echo "the same, and closing, beside sleepers; a sample, for each kill costs a nap" ;;
	waits) echo "falling asleep and waking, a sample, and what is waited for comes meanwhile" ;;
	wake) echo "making ready to sleep, every instruction; and waking, a sample" ;;
	sets) echo "waking a set of rings, every instruction" ;;
	life) echo "opening, closing, reaping, every instruction" ;;
	whole) echo "attaching, creating, removing, every instruction" ;;
	repair) echo "repairing, every instruction" ;;
	pairs) echo "reading and writing while others do beside the victim, every instruction" ;;
	two) echo "two in the middle of an operation each, samples" ;;
	heap) echo "operations on the heap, every instruction" ;;
	*) return 1 ;;
	esac
}

die() {
	echo "crash.sh: $*" >&2
	exit 2
}

# ---- running -------------------------------------------------------------------------------------

# One command, its name first: its rows and exit code go to the table's file.
run() {
	local program=$1 code=0
	shift
	echo "# run $program $*"
	"$bin/$program" "$@" 2>&1 || code=$?
	echo "# exit $code"
}

# run_step JOBS KILLS ARG...: at most KILLS for each row (0: all), fewer if quick. Rows that ought
# to be there are listed first: one that is not reported has failed.
run_step() {
	local many=$1 kills=$2 args
	shift 2
	[[ $quick == no ]] || kills=6
	args=("$@")
	((kills == 0)) || args+=(--max-kills "$kills")
	args+=("${extra[@]}")
	# Of a table of two commands, more arguments may leave one without rows.
	if ! "$bin/crash_step" "${args[@]}" --list >"$work/list" 2>/dev/null; then
		: >"$work/list" # the run will say why
	elif [[ ! -s $work/list ]]; then
		return
	fi
	sed 's/^/# listed /' "$work/list"
	run crash_step "${args[@]}" --jobs "$many"
}

# Commands of one row each, from standard input, some at a time.
run_each() {
	local n=0 line args
	while read -r line; do
		read -ra args <<<"$line"
		n=$((n + 1))
		(run "${args[@]}" "${extra[@]}" >"$work/row.$(printf %03d $n)") &
		((n < jobs)) || wait -n || true
	done
	wait
	cat "$work"/row.*
	rm -f "$work"/row.*
}

heap_commands() {
	local op kind long every
	"$bin/crash_heap_step" --list | while read -r op kind long; do
		every=1
		# Tens of thousands of instructions.
		[[ $long != long ]] || every=61
		[[ $quick == no ]] || every=499
		[[ $quick == no || $long != long ]] || continue
		echo "crash_heap_step --kind $kind --op $op --every $every --from $((every / 2))"
	done
}

run_table() {
	local points=12 every=1 many=$((4 * jobs > 64 ? 64 : 4 * jobs)) kind op
	case $1 in
	hot) run_step "$jobs" 0 --op "$hot" --state "$awake" ;;
	asleep)
		run_step "$many" 240 --state "$asleep" --op "$hot,close-p,close-c"
		;;
	waits)
		run_step "$jobs" 240 --op send-wait,recv-wait
		run_step "$jobs" 240 --op send-wait,recv-wait --news
		;;
	wake)
		run_step "$jobs" 0 --op announce-p,announce-c,arm-p,arm-c
		run_step "$many" 240 --op wake-p,wake-c
		;;
	sets)
		[[ $quick == no ]] || every=499
		for kind in spsc mpmc; do
			for op in commit-mark send-mark close-mark; do
				run crash_pollset_step --every $every --jobs "$many" --kind $kind \
					--op $op "${extra[@]}"
			done
		done
		;;
	life)
		run_step "$jobs" 0 --op open-p,open-c,close-p,close-c,reap-p,reap-c \
			--state "$awake,dead-p,dead-c"
		;;
	whole) run_step "$jobs" 0 --op attach,create,remove ;;
	repair) run_step "$jobs" 0 --op repair ;;
	pairs) run_step "$jobs" 0 --pairs ;;
	two)
		[[ $quick == no ]] || points=2
		run crash_step_pairs --points $points --jobs "$jobs" "${extra[@]}"
		;;
	heap) heap_commands | run_each ;;
	esac
}

# What was built: the same for all tables that belong together.
library() {
	(cd "$root" && find ring sync -name '*.[ch]' -print0 | LC_ALL=C sort -z | xargs -0 cat |
		sha256sum | cut -c 1-12)
}

measure() {
	local table=$1 rows=$out/$1.rows start=$SECONDS
	if [[ $table == heap && ! -x $bin/crash_heap_step ]]; then
		echo "$table: not run, for the heap has not been built (no jemalloc)"
		return
	fi
	{
		echo "# date $(date -u +%Y-%m-%d)"
		echo "# library $(library)"
		run_table "$table"
	} >"$rows.part"
	echo "# seconds $((SECONDS - start))" >>"$rows.part"
	mv "$rows.part" "$rows"
}

# ---- summing up ----------------------------------------------------------------------------------

sum() {
	awk -f "$root/tests/crash/tables.awk" "$@"
}

# put TABLE: its lines into the file, in place of those that are between its marks.
put() {
	local table=$1 new=$work/new line
	for line in "<!-- crash $table -->" "<!-- /crash $table -->"; do
		grep -qxF -e "$line" "$into" || die "$into: no line $line in it"
	done
	sum -v table="$table" "$out/$table.rows" >"$work/lines"
	awk -v table="$table" -v lines="$work/lines" '
		$0 == "<!-- /crash " table " -->" { skip = 0 }
		!skip
		$0 == "<!-- crash " table " -->" {
			skip = 1
			print ""
			while ((getline line < lines) > 0)
				print line
			print ""
		}' "$into" >"$new"
	cat "$new" >"$into"
}

build_it() {
	local targets=(crash_step crash_step_pairs crash_pollset_step) known
	"$root/scripts/setup.sh" --tests
	(cd "$root" && cmake --preset release >/dev/null)
	build=$root/build
	# A target of the heap's is there only with jemalloc.
	known=$(cmake --build "$build" --target help)
	[[ $known != *crash_heap_step* ]] || targets+=(crash_heap_step)
	cmake --build "$build" -j "$(nproc)" --target "${targets[@]}" >/dev/null
}

# ---- options -------------------------------------------------------------------------------------

while (($# > 0)); do
	case $1 in
	--quick) quick=yes ;;
	--sum) sum=yes ;;
	--into | --out | --build | --jobs)
		[[ -n ${2-} ]] || die "$1 wants a value"
		printf -v "${1#--}" '%s' "$2"
		shift
		;;
	--list)
		for table in "${tables[@]}"; do
			printf '%-8s %s\n' "$table" "$(describe "$table")"
		done
		exit 0
		;;
	-h | --help)
		usage
		exit 0
		;;
	--)
		extra=("${@:2}")
		break
		;;
	-*) die "unknown option $1 (see --help)" ;;
	*)
		describe "$1" >/dev/null || die "no table $1 (see --list)"
		wanted+=("$1")
		;;
	esac
	shift
done
[[ $jobs =~ ^([1-9]|[1-5][0-9]|6[0-4])$ ]] || die "--jobs is between 1 and 64"
((${#wanted[@]} != 0)) || wanted=("${tables[@]}")
[[ -z $into || -w $into ]] || die "$into cannot be written"
if [[ $sum == no ]]; then
	[[ $(uname -m) == x86_64 ]] || die "single steps need an x86-64 processor"
	[[ -n $build ]] || build_it
	bin=$build/tests/bin
	[[ -x $bin/crash_step ]] || die "$build: nothing has been built there"
fi
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

files=()
for table in "${wanted[@]}"; do
	[[ $sum == yes ]] || measure "$table"
	[[ -s $out/$table.rows ]] || continue
	files+=("$out/$table.rows")
	echo
	sum -v table="$table" "$out/$table.rows"
	[[ -z $into ]] || put "$table"
done
((${#files[@]} != 0)) || die "there are no rows in $out"
echo
sum -v table=all "${files[@]}"
