#!/bin/bash
# SPDX-License-Identifier: MIT
# A producer in another PID namespace: its process number there means nothing here, or somebody
# else. It is shown, never taken for dead while it lives, and known to be dead soon after it was
# killed.
. "$(dirname "$0")/common.bash"
quoit=$bin/quoit

if [[ $(id -u) == 0 ]]; then
	apart=(unshare --pid --fork --kill-child --mount-proc)
else
	apart=(unshare --user --map-root-user --pid --fork --kill-child --mount-proc)
fi
if ! "${apart[@]}" true 2>/dev/null; then
	echo "skipped: no PID namespace can be made here"
	done_testing
fi

alive() { # how many producers 'quoit peers' calls alive or stopped
	"$quoit" peers -n "$1" | grep -Ec "producer .* ($2) "
}
is_alive() { [[ $(alive "$1" alive) == 1 ]]; }

# The process that the namespace knows as 1, by its number here.
inside() {
	local child
	child=$(pgrep -P "$1") && echo "$child"
}

key=$((0x53000000 + $$))
names=("shm:$tag" "sysv:$key" "file:$scratch/ring")
[[ ${2-} != from-inside ]] || names=() # only the last part
for name in "${names[@]}"; do
	for kind in spsc mpmc; do
		[[ $kind-$name == spsc-file:* ]] && continue # as shm, which is a file too
		what="$kind ${name%%:*}"
		new_ring "$name"
		"$quoit" create -q "$name" --kind $kind --size 64K
		mkfifo "$scratch/fifo"
		exec 9<>"$scratch/fifo"
		# 'exec', so that the producer is number 1 of its namespace.
		start "${apart[@]}" "$produce" -q --lines "$name" \
			<"$scratch/fifo" 2>"$scratch/apart" 9>&-
		outer=$pid
		echo hello >&9
		until_true is_alive "$name"
		victim=$(inside "$outer")
		check "$what: it is shown, by the number that it has there" 1 \
			"$("$quoit" peers -J "$name" | grep -c '"pid":1[,}]')"
		start "$consume" -q --lines "$name" >"$scratch/out" 2>"$scratch/err"
		consumer=$pid
		until_true grep -q hello "$scratch/out"

		# Idle for more than a second, with somebody waiting who looks for the dead all the time.
		sleep 1.2
		check "$what: alive while idle" 1 "$(alive "$name" alive)"
		check "$what: nothing to repair" "$name: nothing to repair" "$("$quoit" repair "$name")"
		[[ -n $victim ]] || {
			check "$what: its number out here" found "none"
			break 2
		}
		kill -STOP "$victim"
		sleep 0.3
		check "$what: not dead while stopped" 1 "$(alive "$name" 'alive|stopped')"
		check "$what: nothing to repair then" "$name: nothing to repair" "$("$quoit" repair "$name")"
		kill -CONT "$victim"
		echo again >&9
		until_true grep -q again "$scratch/out"
		check "$what: it goes on, and so does the consumer" again "$(tail -n 1 "$scratch/out")"

		# Killed: the consumer, asleep, is told.
		begin=$(date +%s%N)
		kill -KILL "$victim"
		finish "$consumer"
		check "$what: the consumer is told of the death" 8 $?
		end=$(date +%s%N)
		# By the shell's clock, beside whatever else runs here: the library's own is 100 ms.
		check "$what: in less than a second" 1 $(((end - begin) / 1000000 < 1000))
		echo "$what: told, and the consumer gone, after $(((end - begin) / 1000000)) ms"
		finish "$outer"
		exec 9>&-
		rm "$scratch/fifo"
		check "$what: nobody is left" 0 "$("$quoit" peers -n "$name" | wc -l)"
		"$quoit" rm "$name"
	done
done

# The other way round: who is in there knows of those outside.
new_ring "shm:$tag-out"
"$quoit" create -q "$ring" --size 64K
mkfifo "$scratch/fifo"
exec 9<>"$scratch/fifo"
start "$produce" -q --lines "$ring" <"$scratch/fifo" 9>&-
producer=$pid
echo hello >&9
until_true is_alive "$ring"
check "seen from inside, one outside is alive" 1 \
	"$("${apart[@]}" "$quoit" peers -n "$ring" | grep -Ec 'producer .* alive ')"
check "and nothing to repair" "$ring: nothing to repair" "$("${apart[@]}" "$quoit" repair "$ring")"
kill -KILL "$producer"
finish "$producer"
check "and dead once it was killed" 1 \
	"$("${apart[@]}" "$quoit" peers -n "$ring" | grep -Ec 'producer .* dead ')"
exec 9>&-
done_testing
