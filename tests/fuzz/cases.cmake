# SPDX-License-Identifier: MIT
#
# Hostile segments and hostile peers: every kept input, and made-up ones. By hand, for TARGET attach,
# between, image, liar, mutate or pollset: fuzz_TARGET --rounds 1000000 --seed N, or, configured with
# clang and -DQUOIT_FUZZER=ON, libfuzzer_TARGET CORPUS tests/fuzz/seeds/TARGET.

# Everything that is mapped lies between guard pages: see harness.h.
foreach(source ${sources})
	get_filename_component(name ${source} NAME_WE)
	foreach(target fuzz_${name} libfuzzer_${name})
		if(TARGET ${target})
			target_link_options(
				${target}
				PRIVATE
				LINKER:--wrap=mmap,--wrap=munmap,--wrap=shmat,--wrap=shmdt
			)
			# For blocks in the heap that are no whole units.
			if(QUOIT_HEAP_JEMALLOC)
				target_link_libraries(${target} PRIVATE ${QUOIT_HEAP_JEMALLOC})
			endif()
		endif()
	endforeach()
endforeach()

# quoit_fuzz_tests(TARGET ROUNDS SEED...)
function(quoit_fuzz_tests name rounds)
	file(GLOB kept CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/seeds/${name}/*)
	quoit_add_program_test(fuzz-${name}-seeds fuzz fuzz_${name} ${kept})
	if(QUOIT_SANITIZE)
		math(EXPR rounds "${rounds} / 4")
	endif()
	foreach(seed ${ARGN})
		quoit_add_program_test(
			fuzz-${name}-${seed} fuzz fuzz_${name} --rounds ${rounds} --seed ${seed}
		)
	endforeach()
endfunction()

# There is nothing in it for the thread sanitizer, and that takes the guard pages' place.
if(NOT QUOIT_SANITIZE STREQUAL thread)
	quoit_fuzz_tests(attach 20000 1 2 3)
	quoit_fuzz_tests(between 600 1 2)
	quoit_fuzz_tests(image 1000 1 2)
	quoit_fuzz_tests(liar 1000 1 2)
	quoit_fuzz_tests(mutate 150 1)
	quoit_fuzz_tests(pollset 500 1 2)
	# One of so many of all: a few of each call. More by hand.
	set(every 5003)
	if(QUOIT_SANITIZE)
		set(every 9001)
	endif()
	quoit_add_program_test(fuzz-between-every fuzz fuzz_between --every ${every})
endif()
