# SPDX-License-Identifier: Apache-2.0
# For our own tests, benchmarks and examples. Nothing here reaches a project that uses omniconn.
add_library(omniconn_dev_flags INTERFACE)
target_compile_options(omniconn_dev_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wold-style-cast
  $<$<BOOL:${OMNICONN_WERROR}>:-Werror>
  $<$<CXX_COMPILER_ID:GNU>:-fconcepts-diagnostics-depth=5>)
# g++ 12 sees memcpy out of bounds and overlapping in inlined `std::string + "x"` (its bugs 105329 and 105651): these may be
# seen, but stop nothing.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(omniconn_dev_flags INTERFACE
    -Wno-error=restrict -Wno-error=array-bounds -Wno-error=stringop-overflow -Wno-error=stringop-overread)
endif()

set(OMNICONN_COSTLY_FLAGS "" CACHE STRING "Compiler flags for files of tests and examples that take a minute of a processor to compile, e.g. -Og (default: as all others)")
function(omniconn_costly source)
  if(OMNICONN_COSTLY_FLAGS)
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${OMNICONN_COSTLY_FLAGS}" SKIP_PRECOMPILE_HEADERS ON) # that of other flags does not fit
  endif()
endfunction()

# Those of the given parts that this build does not have.
function(omniconn_lacking out)
  set(lacking ${ARGN})
  list(REMOVE_ITEM lacking core ${OMNICONN_PARTS_FOUND})
  list(REMOVE_DUPLICATES lacking)
  set(${out} "${lacking}" PARENT_SCOPE)
endfunction()

# The parts a source needs: of its own marker, and of the omniconn headers that it includes.
function(omniconn_parts_of source out)
  set(files ${source})
  file(STRINGS ${source} includes REGEX "^#include <omniconn/")
  foreach(line IN LISTS includes)
    string(REGEX REPLACE "^#include <([^>]+)>.*" "\\1" header "${line}")
    if(EXISTS ${PROJECT_SOURCE_DIR}/include/${header})
      list(APPEND files ${PROJECT_SOURCE_DIR}/include/${header})
    endif()
  endforeach()
  set(parts)
  foreach(file IN LISTS files)
    file(STRINGS ${file} marker REGEX "^// omniconn-part: [a-z0-9_ ]+$" LIMIT_COUNT 1)
    string(REGEX REPLACE "^// omniconn-part: " "" marker "${marker}")
    string(REPLACE " " ";" marker "${marker}")
    list(APPEND parts ${marker})
  endforeach()
  list(REMOVE_DUPLICATES parts)
  set(${out} "${parts}" PARENT_SCOPE)
endfunction()
