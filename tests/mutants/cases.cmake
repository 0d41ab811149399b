# SPDX-License-Identifier: MIT
#
# Negative controls: each mutant is one test. See run.sh. They are about what the library does, not
# about how it is compiled, and step through x86-64.

if(QUOIT_SANITIZE OR QUOIT_FUZZER OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
	return()
endif()

set(heap_programs stress_heap crash_heap_kill crash_heap_step)
set(unit_programs
	unit_death
	unit_fork
	unit_guard
	unit_punch
	unit_scarce
	unit_segment
	unit_segment_limits
)
set(guarded fuzz_attach fuzz_between fuzz_image fuzz_liar fuzz_mutate fuzz_pollset)
string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
set(conf "compiler='${CMAKE_C_COMPILER}'
flags='${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_${type}} -D_GNU_SOURCE'
archive='$<TARGET_FILE:libquoit_static>'
libraries='-lpthread -lm -lurcu-bp -lurcu-common'
criterion='${criterion_LINK_LIBRARIES}'
bin='${CMAKE_RUNTIME_OUTPUT_DIRECTORY}'
jemalloc='$<$<BOOL:${QUOIT_HEAP_JEMALLOC}>:${QUOIT_HEAP_JEMALLOC}>'
")
foreach(
	program
	crash_freeze crash_kill crash_pollset_step crash_recovery crash_soak crash_step crash_step_pairs
	crash_stop stress_pollset stress_ring stress_wakeup ${heap_programs} ${guarded}
	${unit_programs}
)
	string(APPEND conf "programs[${program}]='$<TARGET_FILE:${program}>'
objects[${program}]='$<TARGET_OBJECTS:${program}>'
")
endforeach()
foreach(program ${heap_programs})
	string(APPEND conf "link[${program}]=''\n")
endforeach()
foreach(program ${guarded})
	string(APPEND conf "link[${program}]='-Wl,--wrap=mmap,--wrap=munmap,--wrap=shmat,--wrap=shmdt'\n")
endforeach()
file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/tests/mutants.conf CONTENT "${conf}")

file(GLOB mutants CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.patch)
foreach(mutant ${mutants})
	get_filename_component(name ${mutant} NAME_WE)
	file(STRINGS ${mutant} runs REGEX "^runs: ")
	if(NOT runs OR (runs MATCHES "heap" AND NOT QUOIT_HEAP_JEMALLOC))
		continue()
	endif()
	quoit_add_program_test(
		mutant-${name} mutants bash ${CMAKE_CURRENT_LIST_DIR}/run.sh ${PROJECT_BINARY_DIR} ${name}
		TIMEOUT 240
	)
	set_tests_properties(mutant-${name} PROPERTIES SKIP_RETURN_CODE 77)
endforeach()
