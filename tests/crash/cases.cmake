# SPDX-License-Identifier: MIT
#
# Crash tests: kill.c and stop.c at random moments, freeze.c at every so-manieth instruction. More by
# hand: crash_kill --rounds 100000, crash_freeze --every 1. They are about processes: nothing for the
# thread sanitizer. step.cmake has those that kill at each instruction.

if(QUOIT_SANITIZE STREQUAL thread)
	return()
endif()

set(kill_rounds 500)
set(stop_rounds 60)
set(freeze_every 41)
if(QUOIT_SANITIZE)
	set(kill_rounds 100)
	set(stop_rounds 20)
	set(freeze_every 211)
endif()

# crash_test(NAME TARGET ARG...)
function(crash_test name target)
	quoit_add_program_test(crash-${name} crash ${target} ${ARGN} --timeout 200 TIMEOUT 240)
endfunction()

foreach(backend shm sysv file memfd)
	set(place --backend ${backend})
	crash_test(kill-spsc-${backend} crash_kill --kind spsc ${place} --rounds ${kill_rounds})
	crash_test(
		kill-mpmc-${backend} crash_kill --kind mpmc --peers 2 ${place} --rounds ${kill_rounds}
	)
	crash_test(stop-spsc-${backend} crash_stop --kind spsc ${place} --rounds ${stop_rounds})
	crash_test(
		stop-mpmc-${backend} crash_stop --kind mpmc --peers 2 ${place} --capacity 1024
		--rounds ${stop_rounds}
	)
endforeach()

# Through the ends of 64-bit positions, and of the 48-bit turns of a ring of 16 slots; and through 2^32.
crash_test(
	kill-spsc-wrap crash_kill --kind spsc --rounds ${kill_rounds} --start 18446744073709543424
)
crash_test(
	kill-mpmc-wrap crash_kill --kind mpmc --peers 2 --rounds ${kill_rounds} --capacity 1024
	--start 4503599627368448
)
crash_test(kill-spsc-32 crash_kill --kind spsc --rounds ${kill_rounds} --start 4294965248)
crash_test(
	kill-mpmc-32 crash_kill --kind mpmc --peers 2 --rounds ${kill_rounds} --capacity 1024
	--start 4294966784
)

# From different instructions on, so that together the tests meet more of them.
set(from 0)
foreach(backend shm sysv memfd)
	crash_test(freeze-${backend} crash_freeze --backend ${backend} --every ${freeze_every} --from ${from})
	math(EXPR from "${from} + 13")
endforeach()
crash_test(
	freeze-wrap crash_freeze --every ${freeze_every} --from ${from} --start 18446744073709551000
)

# The soak, and each of its faults planted. An hour of it by hand: docs/CRASH.md.
foreach(backend shm sysv file memfd)
	set(seconds 3)
	if(backend STREQUAL shm)
		set(seconds 5)
	endif()
	quoit_add_program_test(
		crash-soak-mpmc-${backend} crash crash_soak --kind mpmc --backend ${backend} --seconds ${seconds}
		TIMEOUT 240
	)
	quoit_add_program_test(
		crash-soak-spsc-${backend} crash crash_soak --kind spsc --backend ${backend} --seconds 3
		TIMEOUT 240
	)
endforeach()
foreach(kind spsc mpmc)
	quoit_add_program_test(
		crash-soak-${kind}-wrap crash crash_soak --kind ${kind} --start wrap --seconds 3 --renew 1
		TIMEOUT 240
	)
	quoit_add_program_test(
		crash-soak-${kind}-faults crash crash_soak --kind ${kind} --seconds 0.5
		--sabotage all TIMEOUT 240
	)
endforeach()
# A machine that stands still for longer than the soak gives anybody: its clocks must not count that.
quoit_add_program_test(
	crash-soak-frozen crash crash_soak --kind spsc --seconds 1 --grace 3 --stall 1000 --freeze 5000
	TIMEOUT 240
)

# How soon a death is made good: here only that what is counted on the way is right.
quoit_add_program_test(
	crash-recovery crash crash_recovery --wait futex --kills 5 --round-ms 50 --rounds 1
)
quoit_add_program_test(crash-recovery-waits crash crash_recovery --what told-consumer --kills 1)

# Wakers of a pollset. Every instruction by hand: crash_pollset_step --op commit-mark --every 1 --jobs 16.
if(NOT QUOIT_SANITIZE)
	quoit_add_program_test(
		crash-pollset-step-mark crash crash_pollset_step --op commit-mark --every 91
	)
	quoit_add_program_test(crash-pollset-step crash crash_pollset_step --every 4999 --from 11 --jobs 3)
endif()

# The heap: at random, stopped too; and at so-manieth instructions of each operation on it.
if(QUOIT_HEAP_JEMALLOC AND TARGET crash_heap_kill)
	foreach(program heap_kill heap_step)
		target_link_libraries(crash_${program} PRIVATE ${QUOIT_HEAP_JEMALLOC})
	endforeach()
	quoit_add_program_test(crash-heap-kill-spsc crash crash_heap_kill --kind spsc --rounds 50)
	quoit_add_program_test(
		crash-heap-kill-mpmc crash crash_heap_kill --kind mpmc --peers 2 --rounds 50
	)
	quoit_add_program_test(
		crash-heap-stop crash crash_heap_kill --kind mpmc --peers 3 --rounds 30 --stop
	)
	if(NOT QUOIT_SANITIZE)
		# Those that move whole payloads, and the end of the arena, are long: by hand.
		foreach(op reserve-units reserve-arena commit discard collect sweep sweep-some reclaim reap peek advance
				close-consumer)
			quoit_add_program_test(
				crash-heap-step-${op} crash crash_heap_step --op ${op} --every 199 --from 7
			)
		endforeach()
	endif()
endif()

include(${CMAKE_CURRENT_LIST_DIR}/step.cmake)
