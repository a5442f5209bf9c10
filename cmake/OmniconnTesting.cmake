# SPDX-License-Identifier: Apache-2.0
# Helpers of the test suite. Every test has a time limit and at least one label:
# unit, conformance, compile_fail, consumer, check, example, faults, soak, fuzz, slow, hardware, model.
#
#   omniconn_test_folder(<folder> [LIBRARIES ...])
#       tests/<folder>/*_test.cpp become one program, tests/<folder>/programs/*.cpp one helper program each. A test that
#       includes a header of a part which this build lacks (or carries that marker itself) is left out, visibly. One marked
#       '// omniconn-test: costly' is left out where OMNICONN_TEST_COSTLY is off.
#   omniconn_add_test(<name> SOURCES ... [PARTS ...] [LIBRARIES ...] [LABELS ...] [TIMEOUT s])
#       one GoogleTest program; each of its cases becomes a ctest case <name>.<suite>.<case>. A case gets a further label
#       when the word is in its name or its suite's: conformance, faults, soak, fuzz, slow, hardware ("shm_slow.fills_memory")
#   omniconn_add_test_program(<name> SOURCES ... [PARTS ...] [LIBRARIES ...])
#       a helper that tests start with exec; it is at OMNICONN_TEST_BIN_DIR "/<name>"
#   omniconn_add_compile_fail_test(<name> SOURCE file)
#       the good half compiles, each bad half fails with its text: see tests/checks/compile_fail.py
#   omniconn_disabled_test(<name> <why>)
#       a test that cannot run here: ctest shows it as "Not Run (Disabled)"
#   omniconn_add_check(<name> COMMAND ... [LABELS ...] [TIMEOUT s] [PROCESSORS n])
#       any other command as a test
#
# In test sources: OMNICONN_TEST_BIN_DIR (helper programs), OMNICONN_TEST_SOURCE_DIR (tests/, for data files).

include(GoogleTest)
find_package(Python3 QUIET COMPONENTS Interpreter)

set(OMNICONN_TEST_PREFIX "" CACHE STRING "Put before each test's name, so that several build trees can share one ctest run")
set(OMNICONN_TEST_BIN_DIR ${PROJECT_BINARY_DIR}/tests/bin)
option(OMNICONN_TEST_SINGLE_HEADER "Run the suite against single_include/ instead of include/ (default: off)" OFF)
option(OMNICONN_TEST_COSTLY "Also the files of tests marked '// omniconn-test: costly', which take a minute of a processor to compile with sanitizers (default: on)" ON)
option(OMNICONN_TEST_CHECKS "Also test headers, packages, tools and consumer projects, not only behaviour (default: on)" ON)

# --- what the tests are compiled against ----------------------------------------------------------------------------
# The single header takes the place of every header: a folder of forwarders makes each <omniconn/...> include lead to it.
# The test kit, which is not part of it, is forwarded to the real file; so is config.hpp, for the macros that it uses.
add_library(omniconn_under_test INTERFACE)
target_link_libraries(omniconn_under_test INTERFACE omniconn_dev_flags)
if(OMNICONN_TEST_SINGLE_HEADER)
  set(_forwarders ${PROJECT_BINARY_DIR}/single_header_forwarders)
  foreach(part IN LISTS OMNICONN_PARTS ITEMS core)
    foreach(header IN LISTS omniconn_headers_${part})
      if(header MATCHES "^omniconn/(testing/|config.hpp|version.hpp)")
        set(_to "${PROJECT_SOURCE_DIR}/include/${header}")
      else()
        set(_to "${PROJECT_SOURCE_DIR}/single_include/omniconn/omniconn.hpp")
      endif()
      file(CONFIGURE OUTPUT ${_forwarders}/${header} CONTENT "#include \"${_to}\"\n")
    endforeach()
  endforeach()
  target_include_directories(omniconn_under_test INTERFACE ${_forwarders})
  target_compile_features(omniconn_under_test INTERFACE cxx_std_20)
  target_link_libraries(omniconn_under_test INTERFACE Threads::Threads)
  foreach(part IN LISTS OMNICONN_PARTS_FOUND)
    string(TOUPPER ${part} upper)
    target_link_libraries(omniconn_under_test INTERFACE omniconn_dep::${part})
    target_compile_definitions(omniconn_under_test INTERFACE OMNICONN_WITH_${upper}=1)
  endforeach()
else()
  target_link_libraries(omniconn_under_test INTERFACE omniconn_core)
endif()

function(_omniconn_link target)
  cmake_parse_arguments(PARSE_ARGV 1 A "" "" "PARTS;LIBRARIES")
  target_link_libraries(${target} PRIVATE omniconn_under_test ${A_LIBRARIES})
  if(NOT OMNICONN_TEST_SINGLE_HEADER)
    foreach(part IN LISTS A_PARTS)
      target_link_libraries(${target} PRIVATE omniconn_${part})
    endforeach()
  endif()
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_compile_definitions(${target} PRIVATE
    OMNICONN_TEST_BIN_DIR="${OMNICONN_TEST_BIN_DIR}" OMNICONN_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}/tests")
endfunction()

function(omniconn_disabled_test name why)
  message(STATUS "omniconn: test ${name} is disabled: ${why}")
  add_test(NAME ${OMNICONN_TEST_PREFIX}${name} COMMAND ${CMAKE_COMMAND} -E false)
  set_tests_properties(${OMNICONN_TEST_PREFIX}${name} PROPERTIES DISABLED TRUE)
endfunction()

function(omniconn_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 A "" "TIMEOUT" "SOURCES;PARTS;LIBRARIES;LABELS")
  omniconn_lacking(lacking ${A_PARTS})
  if(lacking)
    omniconn_disabled_test(${name} "this build lacks ${lacking}")
    return()
  endif()
  if(NOT A_LABELS)
    set(A_LABELS unit)
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 60)
  endif()
  set(target omniconn_test_${name})
  add_executable(${target} ${A_SOURCES})
  target_link_libraries(${target} PRIVATE omniconn_test_main)
  _omniconn_link(${target} PARTS ${A_PARTS} LIBRARIES ${A_LIBRARIES})
  target_precompile_headers(${target} REUSE_FROM omniconn_test_main)
  gtest_discover_tests(${target} TEST_PREFIX ${OMNICONN_TEST_PREFIX}${name}. TEST_LIST tests_of_${target} DISCOVERY_TIMEOUT 60
    NO_PRETTY_TYPES NO_PRETTY_VALUES # names that do not depend on how a type or a value prints
    PROPERTIES TIMEOUT ${A_TIMEOUT})
  # Labels are set when ctest reads the discovered list: gtest_discover_tests cannot pass more than one.
  set(labels_file ${CMAKE_CURRENT_BINARY_DIR}/${target}_labels.cmake)
  file(CONFIGURE OUTPUT ${labels_file} @ONLY CONTENT [[
foreach(test IN LISTS tests_of_@target@)
  set(labels "@A_LABELS@")
  foreach(word conformance faults soak fuzz slow hardware)
    if(test MATCHES "(^|[^a-z])${word}([^a-z]|$)")
      list(APPEND labels ${word})
    endif()
  endforeach()
  set_tests_properties("${test}" PROPERTIES LABELS "${labels}")
  if(labels MATCHES "slow") # minutes, and both processors of a small machine
    set_tests_properties("${test}" PROPERTIES TIMEOUT 900 PROCESSORS 2)
  endif()
  if(labels MATCHES "soak" AND labels MATCHES "slow") # half an hour, or as long as the one who runs it says
    set(seconds 1800)
    if(DEFINED ENV{OMNICONN_SOAK_SECONDS})
      set(seconds $ENV{OMNICONN_SOAK_SECONDS})
    endif()
    math(EXPR seconds "${seconds} + 900")
    set_tests_properties("${test}" PROPERTIES TIMEOUT ${seconds} PROCESSORS 2)
  endif()
endforeach()
]])
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${labels_file})
endfunction()

function(omniconn_add_test_program name)
  cmake_parse_arguments(PARSE_ARGV 1 A "" "" "SOURCES;PARTS;LIBRARIES")
  omniconn_lacking(lacking ${A_PARTS})
  if(lacking)
    message(STATUS "omniconn: test program ${name} is left out: this build lacks ${lacking}")
    return()
  endif()
  set(target omniconn_test_program_${name})
  add_executable(${target} ${A_SOURCES})
  _omniconn_link(${target} PARTS ${A_PARTS} LIBRARIES ${A_LIBRARIES})
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${OMNICONN_TEST_BIN_DIR})
endfunction()

function(omniconn_test_folder folder)
  cmake_parse_arguments(PARSE_ARGV 1 A "" "" "LIBRARIES")
  set(here ${PROJECT_SOURCE_DIR}/tests/${folder})
  file(GLOB tests CONFIGURE_DEPENDS ${here}/*_test.cpp)
  file(GLOB programs CONFIGURE_DEPENDS ${here}/programs/*.cpp)
  set(sources)
  set(parts)
  foreach(source IN LISTS tests)
    omniconn_parts_of(${source} needed)
    omniconn_lacking(lacking ${needed})
    file(STRINGS ${source} costly REGEX "^// omniconn-test: costly$")
    cmake_path(GET source STEM stem)
    if(lacking)
      omniconn_disabled_test(${folder}.${stem} "this build lacks ${lacking}")
    elseif(costly AND NOT OMNICONN_TEST_COSTLY)
      message(STATUS "omniconn: test ${folder}.${stem} is left out: it is costly")
    else()
      list(APPEND sources ${source})
      list(APPEND parts ${needed})
    endif()
  endforeach()
  if(sources)
    list(REMOVE_DUPLICATES parts)
    omniconn_add_test(${folder} SOURCES ${sources} PARTS ${parts} LIBRARIES ${A_LIBRARIES})
  endif()
  foreach(source IN LISTS programs)
    omniconn_parts_of(${source} needed)
    cmake_path(GET source STEM stem)
    omniconn_add_test_program(${stem} SOURCES ${source} PARTS ${needed} LIBRARIES ${A_LIBRARIES})
  endforeach()
endfunction()

function(omniconn_add_check name)
  cmake_parse_arguments(PARSE_ARGV 1 A "" "TIMEOUT;PROCESSORS" "COMMAND;LABELS")
  if(NOT A_LABELS)
    set(A_LABELS check)
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 180)
  endif()
  if(NOT A_PROCESSORS)
    set(A_PROCESSORS 1)
  endif()
  list(GET A_COMMAND 0 program)
  if(program MATCHES "\\.py$")
    if(NOT Python3_Interpreter_FOUND)
      omniconn_disabled_test(${name} "there is no python3")
      return()
    endif()
    list(PREPEND A_COMMAND ${Python3_EXECUTABLE} -B)
  endif()
  add_test(NAME ${OMNICONN_TEST_PREFIX}${name} COMMAND ${A_COMMAND})
  set_tests_properties(${OMNICONN_TEST_PREFIX}${name} PROPERTIES
    TIMEOUT ${A_TIMEOUT} LABELS "${A_LABELS}" PROCESSORS ${A_PROCESSORS})
endfunction()

# --- for checks that compile something of their own: the compiler and its flags, one argument per line --------------------
function(omniconn_write_compiler_file file)
  add_library(omniconn_probe OBJECT EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tests/support/probe.cpp)
  target_link_libraries(omniconn_probe PRIVATE omniconn_dev_flags omniconn)
  set(p "$<TARGET_PROPERTY:omniconn_probe,")
  separate_arguments(flags NATIVE_COMMAND "${CMAKE_CXX_FLAGS}")
  list(JOIN flags "\n" flags)
  file(GENERATE OUTPUT ${file} CONTENT "${CMAKE_CXX_COMPILER}
${CMAKE_CXX20_STANDARD_COMPILE_OPTION}
${flags}
$<JOIN:${p}COMPILE_OPTIONS>,\n>
-I$<JOIN:${p}INCLUDE_DIRECTORIES>,\n-I>
-D$<JOIN:${p}COMPILE_DEFINITIONS>,\n-D>
" TARGET omniconn_probe)
endfunction()

function(omniconn_add_compile_fail_test name)
  cmake_parse_arguments(PARSE_ARGV 1 A "" "SOURCE" "")
  omniconn_parts_of(${A_SOURCE} needed)
  omniconn_lacking(lacking ${needed})
  if(lacking)
    omniconn_disabled_test(compile_fail.${name} "this build lacks ${lacking}")
  else()
    omniconn_add_check(compile_fail.${name} LABELS compile_fail TIMEOUT 300
      COMMAND ${PROJECT_SOURCE_DIR}/tests/checks/compile_fail.py ${omniconn_compiler_file} ${A_SOURCE})
  endif()
endfunction()
