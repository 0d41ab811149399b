#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Installs what quoit-perf can be compared with, and what its report is drawn with: the Debian packages of
# the peers, gnuplot, valgrind and perf. The library, its programs and its tests need none of them.
# Nothing is downloaded when all is there.
set -euo pipefail

packages=(
	g++ pkg-config
	libck-dev libdpdk-dev libatomic-queue-dev libboost-dev libconcurrentqueue-dev
	libreaderwriterqueue-dev libqb-dev libiceoryx-binding-c-dev libiceoryx-posh-dev libzmq3-dev
	libnng-dev
	gnuplot-nox valgrind linux-perf jq
)

missing=()
for package in "${packages[@]}"; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
	echo "perf-setup: everything is installed"
	exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || {
		echo "perf-setup: not root and no sudo; as root: apt-get install ${missing[*]}" >&2
		exit 4
	}
	as_root=(sudo)
fi

echo "perf-setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
echo "perf-setup: done; configure again to build the peers in"
