# SPDX-License-Identifier: Apache-2.0
# Install rules. Each part has its own install component and its own export set, so that a machine without some library
# can still use the others. Nothing depends on the architecture: the package goes below share/.
include(CMakePackageConfigHelpers)

set(_config_dir ${CMAKE_INSTALL_DATADIR}/cmake/omniconn)
set(_pc_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig)

foreach(part IN LISTS OMNICONN_PARTS ITEMS core)
  install(TARGETS omniconn_${part} EXPORT omniconn-${part}-targets
    FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT omniconn-${part})
  install(EXPORT omniconn-${part}-targets NAMESPACE omniconn:: DESTINATION ${_config_dir} COMPONENT omniconn-${part})
endforeach()

string(REPLACE ";" " " _known_parts "${OMNICONN_PARTS}")
configure_package_config_file(cmake/omniconn-config.cmake.in omniconn-config.cmake INSTALL_DESTINATION ${_config_dir}
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(omniconn-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES
  ${PROJECT_BINARY_DIR}/omniconn-config.cmake
  ${PROJECT_BINARY_DIR}/omniconn-config-version.cmake
  cmake/omniconn-deps.cmake
  DESTINATION ${_config_dir} COMPONENT omniconn-core)

# pkg-config. The prefix is relative to the .pc file, so that the installed tree may be moved.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_INCLUDEDIR BASE_DIRECTORY ${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig
  OUTPUT_VARIABLE _pc_includedir)
configure_file(cmake/omniconn.pc.in omniconn.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/omniconn.pc DESTINATION ${_pc_dir} COMPONENT omniconn-core)

function(_omniconn_install_pc part requires cflags)
  string(TOUPPER ${part} upper)
  configure_file(cmake/omniconn-part.pc.in omniconn-${part}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/omniconn-${part}.pc DESTINATION ${_pc_dir} COMPONENT omniconn-${part})
endfunction()
_omniconn_install_pc(msgpack "" "-DMSGPACK_NO_BOOST") # msgpack-cxx has no .pc file: its header must be on the default path
_omniconn_install_pc(yaml "yaml-cpp" "")
_omniconn_install_pc(json "nlohmann_json" "")
_omniconn_install_pc(sealed "" "")
_omniconn_install_pc(mooncake "nlohmann_json" "")
