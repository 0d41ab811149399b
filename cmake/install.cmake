# SPDX-License-Identifier: MIT
#
# What `cmake --install` puts where: libraries, headers, man pages, and how other projects find
# them, by find_package(quoit) or by pkg-config.
include(CMakePackageConfigHelpers)

install(
	TARGETS libquoit libquoit_static
	EXPORT quoitTargets
	LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
	ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
)
install(FILES ${library_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/quoit)

file(GLOB man_pages CONFIGURE_DEPENDS docs/man/*.[1357])
foreach(page ${man_pages})
	string(REGEX REPLACE ".*\\." "" section ${page})
	install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/quoit)
install(EXPORT quoitTargets NAMESPACE quoit:: DESTINATION ${package_dir})
configure_package_config_file(
	cmake/quoitConfig.cmake.in ${PROJECT_BINARY_DIR}/quoitConfig.cmake
	INSTALL_DESTINATION ${package_dir}
)
# Before 1.0 every minor version may change the interface.
write_basic_package_version_file(
	${PROJECT_BINARY_DIR}/quoitConfigVersion.cmake COMPATIBILITY SameMinorVersion
)
install(FILES ${PROJECT_BINARY_DIR}/quoitConfig.cmake
	      ${PROJECT_BINARY_DIR}/quoitConfigVersion.cmake DESTINATION ${package_dir}
)

# Relative to the .pc file, so that `cmake --install --prefix` and moved trees work.
file(RELATIVE_PATH pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
configure_file(cmake/quoit.pc.in ${PROJECT_BINARY_DIR}/quoit.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/quoit.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
