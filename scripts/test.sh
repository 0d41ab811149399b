#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Build quoit and run its tests.
#
#   scripts/test.sh                  all tests, optimised build
#   scripts/test.sh -L LABEL         one kind: unit stress crash fuzz mutants model install program perf
#   scripts/test.sh --preset PRESET  another build: release debug asan tsan
#   scripts/test.sh --all            everything: both compilers, all sanitizers, all checks
#
# Installs what is missing first (scripts/setup.sh). Ends with a line "N passed, N failed", and before
# it, if there were any, one with the number of tests that were skipped; they are named where they
# were met, and counted as neither. With CI set in the environment, warnings are errors.
set -euo pipefail
cd "$(dirname "$0")/.."

passed=0
failed=0
skipped=0
jobs=$(nproc)
werror=OFF
[[ -z ${CI-} ]] || werror=ON

usage() {
	sed -n '4,14s/^# \{0,1\}//p' scripts/test.sh
}

# step NAME COMMAND...: one check; its output is shown only if it fails. Exit code 77: it cannot be
# made here.
step() {
	local name=$1 start=$SECONDS status=0 log
	shift
	log=$(mktemp)
	"$@" >"$log" 2>&1 || status=$?
	if ((status == 77)); then
		skipped=$((skipped + 1))
		printf '%-52s skipped: %s\n' "$name" "$(tail -n 1 "$log")"
		rm -f "$log"
		return 0
	fi
	if ((status == 0)); then
		passed=$((passed + 1))
		printf '%-52s ok    %4d s\n' "$name" $((SECONDS - start))
		rm -f "$log"
		return 0
	fi
	failed=$((failed + 1))
	printf '%-52s FAILED %3d s\n' "$name" $((SECONDS - start))
	cat "$log"
	rm -f "$log"
	return 1
}

# configure_and_build PRESET [BUILD OPTIONS]
configure_and_build() {
	local preset=$1
	shift
	cmake --preset "$preset" -DQUOIT_WERROR=$werror && cmake --build --preset "$preset" -j "$jobs" "$@"
}

# tell_skipped PRESET LOG: names the tests of a run that were skipped, and within those that passed
# the cases. Sets left to how many tests.
tell_skipped() {
	local build=build-$1 name
	[[ $1 != release ]] || build=build
	left=0
	while read -r name; do
		echo "$1: skipped: $name"
		left=$((left + 1))
	done < <(sed -n 's/^[[:space:]]*[0-9]* - \(.*\) (Skipped)$/\1/p' "$2")
	awk -v preset="$1" '
		/^[0-9]+\/[0-9]+ Testing: / { name = $3 }
		/^\[SKIP\] / && !/Test is disabled$/ { sub(/^\[SKIP\] /, ""); print preset ": skipped in " name ": " $0 }
		/^skipped: / { sub(/^skipped: /, ""); print preset ": skipped in " name ": " $0 }
	' "$build/Testing/Temporary/LastTest.log"
}

# run_ctest PRESET [CTEST OPTIONS]: adds ctest's count to ours. Criterion names what it skips only
# if it is asked to talk.
run_ctest() {
	local preset=$1 log start=$SECONDS total bad left
	shift
	log=$(mktemp)
	CRITERION_VERBOSITY_LEVEL=1 ctest --preset "$preset" -j "$jobs" --no-tests=error "$@" 2>&1 | tee "$log" || true
	total=$(sed -n 's/.* tests passed, [0-9]* tests failed out of \([0-9]*\)$/\1/p' "$log")
	bad=$(sed -n 's/.* tests passed, \([0-9]*\) tests failed out of .*/\1/p' "$log")
	if [[ -z $total ]]; then
		rm -f "$log"
		echo "ctest --preset $preset $* did not finish"
		failed=$((failed + 1))
		return
	fi
	tell_skipped "$preset" "$log"
	rm -f "$log"
	passed=$((passed + total - bad - left))
	failed=$((failed + bad))
	skipped=$((skipped + left))
	echo "$preset: $((total - bad - left)) passed, $bad failed, $left skipped, $((SECONDS - start)) s"
}

# build_and_test PRESET [CTEST OPTIONS]
build_and_test() {
	local preset=$1
	shift
	if step "$preset: configure and build" configure_and_build "$preset"; then
		run_ctest "$preset" "$@"
	fi
}

# A while of libFuzzer for each target, beginning from its seeds. What it finds is kept.
fuzz_a_little() {
	local target corpus status=0
	configure_and_build fuzz --target libfuzzer || return 1
	for target in build-fuzz/tests/bin/libfuzzer_*; do
		corpus=$(mktemp -d)
		if "$target" -max_total_time=16 -timeout=30 -artifact_prefix="$corpus/found-" "$corpus" \
			"tests/fuzz/seeds/${target##*_}"; then
			rm -rf "$corpus"
		else
			echo "kept: $corpus/found-*"
			status=1
		fi
	done
	return $status
}

# The benchmarks build without any peer, and the hot paths take the instructions that are written down.
perf_a_little() {
	cmake --preset release -B build-perf -DQUOIT_PERF=ON -DQUOIT_PERF_PEERS=none \
		-DBUILD_TESTING=OFF -DQUOIT_WERROR=$werror &&
		cmake --build build-perf -j "$jobs" --target quoit-perf &&
		perf/instructions.sh --check build-perf/bin/quoit-perf
}

# Whatever fails, the rest is still looked at.
everything() {
	step "format: clang-format agrees" scripts/lint.sh format || true
	step "man pages: mandoc agrees" scripts/lint.sh man || true
	build_and_test release || true
	step "release: the demo" scripts/demo.sh 200 || true
	step "release: clang-tidy agrees" scripts/lint.sh tidy build || true
	build_and_test clang -L '^(unit|stress|install)$' || true
	build_and_test asan -L '^(unit|stress|fuzz)$' || true
	# Of the crash tests those that neither single-step nor measure, a few.
	run_ctest asan -R '^crash-(soak-(mpmc-memfd|spsc-sysv)|kill-(mpmc-shm|spsc-file)|heap-kill-mpmc)$' || true
	build_and_test tsan -L '^stress$' || true
	step "perf: builds, instructions per operation" perf_a_little || true
	step "fuzz: libFuzzer, 16 s a target" fuzz_a_little || true
}

preset=release
label=()
all=no
while (($# > 0)); do
	case "$1" in
	-L)
		label=(-L "^${2:?-L needs a label}\$")
		shift
		;;
	--preset)
		preset=${2:?--preset needs a name}
		shift
		;;
	--all) all=yes ;;
	-h | --help)
		usage
		exit 0
		;;
	*)
		echo "test.sh: unknown option $1 (see --help)" >&2
		exit 2
		;;
	esac
	shift
done

scripts/setup.sh --tests
if [[ $all == yes ]]; then
	everything
else
	build_and_test "$preset" "${label[@]}"
fi
((skipped == 0)) || echo "$skipped skipped"
echo "$passed passed, $failed failed"
((failed == 0))
