#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Negative controls: the library with one fault planted in it, and the test that must notice.
#
#   run.sh BUILD [NAME]...       check these mutants, or all; BUILD is a configured and built folder
#   run.sh BUILD --show NAME     run it, and show what the test said
#   run.sh --table               the mutants as a table
#
# A mutant is a file NAME.patch: lines "key: value", then a unified diff of ring/ or sync/.
#
#   breaks:  what is wrong with it, in words
#   runs:    the test program and its arguments, from the root of the sources; program_NAME is
#            tests/program/NAME.sh, with the installed programs and the mutant as their library
#   expect:  what it must complain of, an extended regular expression; "exit N" is its exit code;
#            several programs have a line of each, in the same order
#   rebuild: files to compile anew besides those that the diff changes, for changes of headers;
#            "test" is the test program itself (optional)
#   needs:   "root", without which the test cannot ask (optional)
#   flags:   for compiler and linker (optional)
#   base:    a patch that is applied to the library in both cases (optional)
#
# The same command must succeed with the library as it is, or it proves nothing. A diff that does
# not apply any more is a failure: whoever changes the code mends it. Exit code 0: all were caught;
# 77: none was missed, but some need root.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
limit=${QUOIT_MUTANT_LIMIT:-60} # seconds for one run of a test
export LC_ALL=C

usage() {
	sed -n '6,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
	exit 64
}

# field FILE KEY: its value, or nothing.
field() {
	sed -n -e "/^--- /q" -e "s/^$2: *//p" "$1"
}

names() {
	local file
	for file in "$here"/*.patch; do
		[[ -z $(field "$file" runs) ]] || basename "$file" .patch
	done
}

if [[ ${1-} == --table ]]; then
	echo "| mutant | what is broken | command | caught by |"
	echo "|---|---|---|---|"
	for name in $(names); do
		file=$here/$name.patch
		mapfile -t runs < <(field "$file" runs)
		mapfile -t expects < <(field "$file" expect)
		for i in "${!runs[@]}"; do
			echo "| \`$name\` | $(field "$file" breaks) | \`${runs[i]}\` | ${expects[i]//|/ or } |"
		done
	done
	exit 0
fi
[[ -d ${1-} ]] || usage
build=$(cd "$1" && pwd)
shift
# Sets these.
compiler='' flags='' archive='' libraries='' jemalloc='' criterion='' bin=''
# And these, by the name of a program.
declare -A objects programs link
# shellcheck source=/dev/null
source "$build/tests/mutants.conf" || exit 64
show=no
if [[ ${1-} == --show ]]; then
	show=yes
	shift
fi
if (($# == 0)); then
	mapfile -t all < <(names)
	set -- "${all[@]}"
fi

work=$(mktemp -d)
chmod 711 "$work" # other users load the mutant, too
group=
# What a test leaves that is cut off in the middle.
end_group() {
	[[ -z $group ]] || kill -KILL -- "-$group" 2>/dev/null
	group=
}
trap 'end_group; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# plant TREE PATCH: apply it.
plant() {
	patch -p1 -s --no-backup-if-mismatch -d "$1" <"$2" >"$1/patch.log" 2>&1 && return 0
	why="$(basename "$2") does not apply: $(tail -n 1 "$1/patch.log")"
	return 1
}

# compile TREE SOURCE OBJECT [FLAGS]: SOURCE lies in the tree, or is a test.
compile() {
	local tree=$1 source=$2 object=$3
	shift 3
	# shellcheck disable=SC2086
	"$compiler" $flags -w "$@" -I"$tree" -I"$tree/ring/include" -I"$root" -I"$root/tests" \
		-c "$source" -o "$object" >"$tree/compile.log" 2>&1 && return 0
	why="$source does not compile: $(grep -m 1 error "$tree/compile.log")"
	return 1
}

# link_shared TREE OBJECT...: the library for the installed programs, with these objects, called
# TREE_FILE.c.o, in the place of its own.
link_shared() {
	local tree=$1 file
	shift
	mkdir -p "$tree/objects"
	(cd "$tree/objects" && ar x "$archive") || return 1
	for file in "$@"; do
		file=$(basename "$file" .o)
		rm "$tree/objects/${file#*_}.o" || return 1
	done
	# shellcheck disable=SC2086
	"$compiler" $flags -shared -Wl,-soname,libquoit.so.0 "$@" "$tree"/objects/*.o $libraries \
		-Wl,--version-script="$tree/ring/libquoit.map" -o "$tree/libquoit.so.0" \
		>"$tree/link.log" 2>&1 && return 0
	why="the library does not link: $(tail -n 1 "$tree/link.log")"
	return 1
}

# make TREE PROGRAM MUTANT [PATCH]...: the library with these patches, linked to the program.
make() {
	local tree=$1 program=$2 mutant=$3 file more test='' objs=()
	shift 3
	mkdir -p "$tree"
	cp -r "$root/ring" "$root/sync" "$tree"
	for file in "$@"; do
		plant "$tree" "$file" || return 1
	done
	more=$(field "$mutant" flags)
	while read -r file; do
		[[ $file == *.c ]] || continue
		# shellcheck disable=SC2086
		compile "$tree" "$tree/$file" "$tree/${file//\//_}.o" -fPIC -fvisibility=hidden $more ||
			return 1
		objs+=("$tree/${file//\//_}.o")
	done < <({
		sed -n 's,^+++ b/,,p' "$@"
		field "$mutant" rebuild | tr ' ' '\n'
	} | sort -u)
	if [[ $program == program_* ]]; then
		link_shared "$tree" "${objs[@]}"
		return
	fi
	test=${objects[$program]}
	if [[ " $(field "$mutant" rebuild) " == *" test "* ]]; then
		file=$root/tests/${program/_//}.c
		test=$tree/test.o
		# shellcheck disable=SC2086
		compile "$tree" "$file" "$test" -UNDEBUG $more || return 1
	fi
	[[ $program != unit_* ]] || more+=" $criterion"
	# shellcheck disable=SC2086
	"$compiler" $flags ${link[$program]-} "$test" "${objs[@]}" "$archive" $libraries $more \
		${link[$program]+$jemalloc} -o "$tree/$program" >"$tree/link.log" 2>&1 && return 0
	why="$program does not link: $(tail -n 1 "$tree/link.log")"
	return 1
}

# run LOG PROGRAM [ARG]...: its exit code; 137 if it took too long. In a session of its own.
run() {
	local log=$1 code pid pids
	shift
	# shellcheck disable=SC2016
	(cd "$root" && exec setsid timeout -s KILL "$limit" \
		bash -c 'echo "$$" >"$0" && exec "$@"' "$work/pid" "$@") >"$log" 2>&1 </dev/null &
	group=$!
	wait "$group" 2>/dev/null
	code=$?
	# Rings that it has left, or one of its processes that hang, which have its number in their names.
	mapfile -t pids < <(cat "$work/pid" && pgrep -s "$group")
	end_group
	for pid in "${pids[@]}"; do
		rm -rf /dev/shm/quoit.qtest-"$pid"-* /dev/shm/quoit.qtest-set-"$pid"-* /tmp/qtest-"$pid"-*
	done
	echo "exit $code" >>"$log"
	return "$code"
}

# check_with MUTANT COMMAND EXPECT: 0 if this command notices it.
check_with() {
	local file=$1 tree=$work/tree base program intact planted words code tries
	read -r -a words <<<"$2"
	program=${words[0]}
	if [[ $program == program_* ]]; then
		words=("$program" "$root/tests/program/${program#program_}.sh" "$bin" "${words[@]:1}")
		intact=bash
	else
		intact=${programs[$program]-}
	fi
	[[ -n $intact ]] || {
		why="$program has not been built"
		return 1
	}
	base=$(field "$file" base)
	base=${base:+$here/$base.patch}
	if [[ -n $base ]]; then
		make "$tree/intact" "$program" "$file" "$base" || return 1
		intact=$tree/intact/$program
	fi
	make "$tree" "$program" "$file" ${base:+"$base"} "$file" || return 1
	run "$tree/intact.log" "$intact" "${words[@]:1}" || {
		why="without the fault, too, it fails: $(tail -n 2 "$tree/intact.log" | tr '\n' ' ')"
		return 1
	}
	# Some are a matter of chance, above all on a busy machine.
	planted=$tree/$program
	[[ $program != program_* ]] || planted=bash
	for ((tries = 0; tries < 3; tries++)); do
		LD_LIBRARY_PATH=$tree run "$tree/log" "$planted" "${words[@]:1}"
		code=$?
		[[ $show == no ]] || cat "$tree/log"
		caught=$(grep -E -m 1 -e "$3" "$tree/log") && ((code != 0)) && return 0
	done
	if ((code == 0)); then
		why="not noticed: $2"
	else
		why="noticed, but not by \"$3\": $(head -n 3 "$tree/log" | tr '\n' ' ')"
	fi
	return 1
}

# check NAME: 0 if all that should notice it do; else `why` says why not.
check() {
	local file=$here/$1.patch runs expects i
	[[ -f $file ]] || {
		why="there is no $file"
		return 1
	}
	mapfile -t runs < <(field "$file" runs)
	mapfile -t expects < <(field "$file" expect)
	for i in "${!runs[@]}"; do
		check_with "$file" "${runs[i]}" "${expects[i]:?}" || return 1
		rm -rf "${work:?}/tree"
	done
}

missed=0
unasked=0
for name in "$@"; do
	why=
	start=${EPOCHREALTIME/./}
	if [[ -f $here/$name.patch && $(field "$here/$name.patch" needs) == root && $(id -u) != 0 ]]; then
		unasked=$((unasked + 1))
		echo "skipped: $name needs root"
		continue
	fi
	if check "$name"; then
		printf 'caught  %-26s %5.1f s  %s\n' "$name" \
			"$(((${EPOCHREALTIME/./} - start) / 100000))e-1" "${caught:0:140}"
	else
		missed=$((missed + 1))
		printf 'FAILED  %-26s %s\n' "$name" "$why"
	fi
	rm -rf "${work:?}/tree"
done
echo "$(($# - missed - unasked)) caught, $missed not"
((missed == 0)) || exit 1
((unasked == 0)) || exit 77
