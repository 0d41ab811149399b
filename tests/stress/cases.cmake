# SPDX-License-Identifier: MIT
#
# The matrix of tests/stress/ring.c: every kind, number of peers and way to wait as a test of its own,
# each over all backends; and threads on one mapping. Under the thread sanitizer only the threads: it
# sees nothing of other processes.

# Peers that only spin are at the mercy of the scheduler where there are more of them than cores.
set(stress_records 60000)
set(stress_records_spin 2000)
if(QUOIT_SANITIZE)
	set(stress_records 4000)
	set(stress_records_spin 1000)
endif()

# stress_ring(NAME ARG...)
function(stress_ring name)
	quoit_add_program_test(
		stress-ring-${name} stress stress_ring ${ARGN} --timeout 100 TIMEOUT 300
	)
endfunction()

foreach(shape spsc-1 mpmc-1 mpmc-2 mpmc-4)
	string(REGEX MATCH "^[a-z]+" kind ${shape})
	string(REGEX MATCH "[0-9]+$" n ${shape})
	set(peers --kind ${kind} --producers ${n} --consumers ${n})
	if(NOT QUOIT_SANITIZE STREQUAL thread)
		foreach(wait spin yield futex sem sysvsem eventfd)
			set(records ${stress_records})
			if(wait STREQUAL spin)
				set(records ${stress_records_spin})
			endif()
			stress_ring(
				${kind}-${n}p${n}c-${wait} ${peers} --backend all --wait ${wait}
				--records ${records}
			)
		endforeach()
	endif()
	foreach(attach shared own)
		stress_ring(
			${kind}-${n}p${n}c-threads-${attach} ${peers} --backend shm --wait all
			--records ${stress_records_spin} --threads --attach ${attach}
		)
	endforeach()
endforeach()

# Small rings that run through the ends of positions and of the slot word's turn (16 slots: 2^52); and
# through 2^32, where a half of a word would be too short.
if(NOT QUOIT_SANITIZE STREQUAL thread)
	stress_ring(
		spsc-wrap --kind spsc --capacity 4096 --start 18446744073709543424 --records 20000
	)
	stress_ring(
		mpmc-wrap --kind mpmc --producers 2 --consumers 2 --capacity 1024
		--start 18446744073709551000 --records 5000
	)
	stress_ring(
		mpmc-turn-wrap --kind mpmc --producers 2 --consumers 2 --capacity 1024
		--start 4503599627369472 --records 5000
	)
	stress_ring(spsc-32 --kind spsc --capacity 4096 --start 4294965248 --records 20000)
	stress_ring(
		mpmc-32 --kind mpmc --producers 2 --consumers 2 --capacity 1024 --start 4294966784
		--records 5000
	)
endif()

if(TARGET stress_wakeup)
	set(mode "")
	if(QUOIT_SANITIZE STREQUAL thread)
		set(mode --threads)
	endif()
	foreach(backend futex sem sysvsem eventfd)
		quoit_add_program_test(
			stress-wakeup-${backend} stress stress_wakeup --backend ${backend} ${mode}
		)
	endforeach()
	# The control: without the second look it must find a lost wake-up.
	quoit_add_program_test(
		stress-wakeup-control stress stress_wakeup --break recheck ${mode}
	)
	set_tests_properties(stress-wakeup-control PROPERTIES WILL_FAIL ON)
endif()

# The heap: processes, and threads for the thread sanitizer. stress_heap --seconds 60 --max 67108864
# --heap 268435456 tells how fragmented the section gets, by hand; with kills: crash_heap_kill.
if(TARGET stress_heap)
	if(QUOIT_HEAP_JEMALLOC)
		target_link_libraries(stress_heap PRIVATE ${QUOIT_HEAP_JEMALLOC})
		foreach(kind spsc mpmc)
			if(NOT QUOIT_SANITIZE STREQUAL thread)
				quoit_add_program_test(
					stress-heap-${kind} stress stress_heap --kind ${kind} --records 2000
				)
			endif()
			quoit_add_program_test(
				stress-heap-${kind}-threads stress stress_heap --kind ${kind} --threads
				--records 500 --max 100000 --heap 1048576
			)
		endforeach()
	endif()
endif()

# A thousand rings and eight reader threads on one set.
if(NOT QUOIT_SANITIZE STREQUAL thread)
	quoit_add_program_test(stress-pollset-processes stress stress_pollset --ms 1000 --kill --timeout 280
		TIMEOUT 300
	)
endif()
quoit_add_program_test(stress-pollset-threads stress stress_pollset --ms 1000 --threads --timeout 280
	TIMEOUT 300
)
