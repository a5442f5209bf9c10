# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Shared by tests/run and examples/run: what has to be installed, and quiet building. Source it; it changes into the
# repository and defines
#
#   setup_packages SET...        install what is missing of these sets (root), or say what to install and exit 2
#   setup_build PRESET [ARG...]  configure and build a preset of CMakePresets.json; ARGs go to the configure step
#   setup_quiet NAME COMMAND...  run with the output in build/log/NAME.log; if it fails, show the end and exit
#
# OMNICONN_JOBS limits the parallel compilers (default: as many as there are processors).

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
OMNICONN_JOBS=${OMNICONN_JOBS:-$(nproc)}
export LC_ALL=C.UTF-8

# Debian package, and the command, file or shared library that shows that it (or a substitute from elsewhere) is there.
setup_list() {
  case $1 in
    build) echo "g++ g++
cmake cmake
ninja-build ninja
pkg-config pkg-config
libyaml-cpp-dev /usr/include/yaml-cpp/yaml.h
libmsgpack-cxx-dev /usr/include/msgpack.hpp
nlohmann-json3-dev /usr/include/nlohmann/json.hpp
libcli11-dev /usr/include/CLI/CLI.hpp" ;;
    examples) setup_list build; echo "libsndfile1-dev /usr/include/sndfile.h
libfftw3-dev /usr/include/fftw3.h
libpng-dev /usr/include/png.h
alsa-utils /usr/share/sounds/alsa/Front_Center.wav" ;;
    tests) setup_list examples; echo "libbenchmark-dev /usr/include/benchmark/benchmark.h
libgtest-dev /usr/include/gtest/gtest.h
python3 python3
python3-venv /usr/lib/python3.11/ensurepip/__init__.py
libibverbs1 lib:libibverbs.so.1
libnuma1 lib:libnuma.so.1
libcurl4 lib:libcurl.so.4" ;; # the last three are for Mooncake's programs
    clang) echo "clang clang++" ;;
    fuzz) echo "libclang-rt-14-dev /usr/lib/llvm-14/lib/clang/14.0.6/lib/linux" ;;
    tidy) echo "clang-tidy clang-tidy" ;;
    *) echo "setup: no list named $1" >&2; exit 1 ;;
  esac
}

setup_missing() { # SET...
  local set package probe
  for set in "$@"; do setup_list "$set"; done | while read -r package probe; do
    case $probe in
      /*) [ -e "$probe" ] || echo "$package" ;;
      lib:*) /sbin/ldconfig -p | grep -F "${probe#lib:}" >/dev/null || echo "$package" ;; # no -q: who prints must not find its reader gone
      *) command -v "$probe" >/dev/null || echo "$package" ;;
    esac
  done | sort -u
}

setup_packages() { # SET...
  local missing
  missing=$(setup_missing "$@" | tr '\n' ' ')
  missing=${missing% }
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    {
      echo "Some packages are missing. As root, on Debian 12:"
      echo "    apt-get update && apt-get install --no-install-recommends $missing"
      echo "then run this again."
    } >&2
    exit 2
  fi
  echo "-- installing $missing"
  setup_quiet apt-update apt-get -q update
  # shellcheck disable=SC2086 # a list of words
  DEBIAN_FRONTEND=noninteractive setup_quiet apt-install apt-get -qy install --no-install-recommends $missing
  missing=$(setup_missing "$@" | tr '\n' ' ')
  if [ -n "$missing" ]; then
    echo "apt-get installed these packages, but what they are for is not there: $missing" >&2
    exit 2
  fi
}

setup_quiet() { # NAME COMMAND...
  local log=build/log/$1.log status=0 start=$SECONDS
  shift
  mkdir -p build/log
  "$@" >"$log" 2>&1 </dev/null || status=$?
  [ "$status" != 0 ] || return 0
  {
    # The compiler's own words first: with several jobs they may stand far above the end.
    grep -nE '(error|CMake Error|FAILED)(:| )' "$log" | head -n 20 | cut -c 1-300
    echo "-- the last lines of $log:"
    tail -n 40 "$log" | cut -c 1-300
    echo "-- failed after $((SECONDS - start)) s with status $status: $*"
  } >&2
  exit "$status"
}

setup_build() { # PRESET [ARG...]
  local preset=$1 launcher=() start=$SECONDS
  shift
  if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
  fi
  echo "-- building $preset"
  setup_quiet "$preset-configure" cmake --preset "$preset" "${launcher[@]}" "$@"
  setup_quiet "$preset-build" cmake --build "build/$preset" -j "$OMNICONN_JOBS"
  echo "-- built $preset in $((SECONDS - start)) s"
}
