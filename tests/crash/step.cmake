# SPDX-License-Identifier: MIT
#
# crash_step kills a process at every instruction of an operation; docs/CRASH.md has the long runs.
# Here: every instruction of the hot path; a sample of the rest. It steps through x86-64, and what
# the sanitizers add is not what it is about.

if(QUOIT_SANITIZE OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
	return()
endif()

set(hot reserve,commit,discard,send,send-batch,peek,advance,recv,recv-batch)
set(life open-p,open-c,close-p,close-c,reap-p,reap-c,repair,attach,create,remove)
set(awake empty,half,full,wrap,lent,large)

quoit_add_program_test(
	crash-step-hot crash crash_step --op ${hot} --state ${awake} --backend memfd --jobs 3
	TIMEOUT 300
)
quoit_add_program_test(
	crash-step-backends crash crash_step --op ${hot} --state ${awake} --backend shm,sysv,file
	--max-kills 8 --jobs 3
)
quoit_add_program_test(
	crash-step-asleep crash crash_step --state futex,sem,sysvsem,eventfd --backend memfd,sysv
	--max-kills 6 --jobs 8
)
# What a sleeper waits for comes while it stands at an instruction on its way to sleep.
quoit_add_program_test(
	crash-step-news crash crash_step --news --backend memfd,sysv --max-kills 24 --jobs 8
)
quoit_add_program_test(
	crash-step-life crash crash_step --op ${life} --max-kills 4 --jobs 3 TIMEOUT 300
)
quoit_add_program_test(
	crash-step-pairs crash crash_step --pairs --backend memfd --max-kills 24 --jobs 8
)
quoit_add_program_test(
	crash-step-two-hot crash crash_step_pairs --backend memfd --points 5 --jobs 4
	--first commit,send,send-batch,reserve,discard,recv,advance
)
quoit_add_program_test(
	crash-step-two-life crash crash_step_pairs --backend shm --points 3 --jobs 4
	--first close-p,close-c,open-p,open-c,reap-p,reap-c,create,remove
)
# scripts/crash.sh, which runs all of it.
quoit_add_program_test(
	crash-tables crash bash ${CMAKE_CURRENT_LIST_DIR}/tables.sh ${PROJECT_BINARY_DIR}
)
