/* SPDX-License-Identifier: MIT */
/*
 * RouDi with its default memory pools, unmonitored: a side that is stopped at the canary is not to
 * be taken for dead. What it prints goes nowhere.
 */
#include <cerrno>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <iceoryx_posh/roudi/iceoryx_roudi_app.hpp>

#include "perf/measure.h"
#include "perf/systems/iceoryx.h"

extern "C" pid_t perf_iceoryx_roudi(void)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid < 0 ? -errno : pid;
	/* It has files and shared memory to clear away. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	perf_unpin();

	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);

	iox::config::CmdLineArgs_t arguments;
	iox::RouDiConfig_t config;

	arguments.monitoringMode = iox::roudi::MonitoringMode::OFF;
	arguments.logLevel = iox::log::LogLevel::kOff;
	config.setDefaults();
	iox::roudi::IceOryxRouDiApp app(arguments, config);

	_exit(app.run());
}
