#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# manual.sh INCLUDE_DIR MAN_DIR: quoit(3) names every call of the public headers, in NAME and in
# SYNOPSIS, and no other.
set -euo pipefail
include=$1 page=$2/quoit.3

calls() {
	printf '#include <quoit/%s.h>\n' quoit pollset inspect |
		gcc -E -P -I"$include" -x c - | grep -v '^typedef' |
		grep -o '\<quoit_[a-z][a-z_]* *(' | tr -d ' (' | sort -u
}
section() { # of the page, a macro's first argument there
	sed -n "/^\.Sh $1/,/^\.Sh [^$1]/s/^\.$2 \([a-z_]*\).*/\1/p" "$page" | sort -u
}

(($(calls | wc -l) > 50)) || { echo "FAILED: no calls found in $include"; exit 1; }
diff <(calls) <(section NAME Nm) || { echo "FAILED: NAME of $page is not what the headers have"; exit 1; }
diff <(calls) <(section SYNOPSIS Fn) || { echo "FAILED: SYNOPSIS of $page is not what the headers have"; exit 1; }
echo "ok: $page"
