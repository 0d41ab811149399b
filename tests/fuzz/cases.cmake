# SPDX-License-Identifier: MIT
#
# Hostile segments: every kept input, and made-up ones. By hand: fuzz_attach --rounds 1000000 --seed N,
# or, configured with clang and -DQUOIT_FUZZER=ON, libfuzzer_attach CORPUS tests/fuzz/seeds.

set(fuzz_rounds 20000)
if(QUOIT_SANITIZE)
	set(fuzz_rounds 5000)
endif()

# There is nothing in it for the thread sanitizer, and that takes the unmapped pages' place.
if(NOT QUOIT_SANITIZE STREQUAL thread)
	file(GLOB fuzz_seeds CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/seeds/*)
	quoit_add_program_test(fuzz-attach-seeds fuzz fuzz_attach ${fuzz_seeds})
	foreach(seed 1 2 3)
		quoit_add_program_test(
			fuzz-attach-${seed} fuzz fuzz_attach --rounds ${fuzz_rounds} --seed ${seed}
		)
	endforeach()
endif()
