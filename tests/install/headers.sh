#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# headers.sh INCLUDE_DIR: every public header compiles alone, as strict C11 and C++17, with gcc and
# clang and without a word from either.
set -euo pipefail
include=$1
failed=0
warnings=(-Wall -Wextra -Wpedantic -Wshadow -Wundef -Werror)

compile() {
	local header=$1 language=$2
	shift 2
	if "$@" "${warnings[@]}" -fsyntax-only -I"$include" -x "$language" - <<<"#include <quoit/$header>"
	then
		echo "ok: $header $*"
	else
		echo "FAILED: $header $*"
		failed=1
	fi
}

for path in "$include"/quoit/*.h; do
	header=${path##*/}
	# A header that is only ever included by another says so itself.
	if grep -q '^#error "include <quoit/' "$path"; then
		continue
	fi
	compile "$header" c gcc -std=c11
	compile "$header" c gcc -std=gnu11 -D_GNU_SOURCE -Wstrict-prototypes
	compile "$header" c clang -std=c11
	compile "$header" c++ g++ -std=c++17
	compile "$header" c++ clang++ -std=c++17
done
exit $failed
