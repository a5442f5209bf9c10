#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what bench/peers/run measures beside us: Debian's packages (as root, else it says which) and the Python packages
# of requirements.txt, in a virtual environment of their own: build/peers-python. Says nothing more when all is there.
# vLLM-Omni lies in the environment of tests/python/setup.sh, which is made, too.
#
# OMNICONN_PYTHON names the interpreter (default: /usr/bin/python3; the wheels are for 3.11).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/setup.sh"
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV

# redis-tools has the server's program, too, and unlike redis-server no service that would start with the machine.
setup_list() { # replaces the one of tools/setup.sh
  echo "g++ g++
pkg-config pkg-config
libucx-dev /usr/include/ucp/api/ucp.h
libboost-dev /usr/include/boost/interprocess/managed_shared_memory.hpp
libzmq3-dev /usr/include/zmq.h
libhiredis-dev /usr/include/hiredis/hiredis.h
redis-tools redis-check-rdb
python3 python3
python3-venv /usr/lib/python3.11/ensurepip/__init__.py"
}

setup_packages peers
setup_quiet peers-vllm-omni tests/python/setup.sh

environment=$PWD/build/peers-python
requirements=bench/peers/requirements.txt
python=${OMNICONN_PYTHON:-/usr/bin/python3}
stamp=$environment/.omniconn-complete
# The folder is part of the stamp because a virtual environment does not survive being moved or copied.
wanted=$(printf '%s\n%s\n' "$environment" "$python" | cat - "$requirements" | sha256sum)
if [ -x "$environment/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

echo "-- installing $requirements"
rm -rf "$environment"
setup_quiet peers-venv "$python" -m venv "$environment"
setup_quiet peers-pip "$environment/bin/python" -m pip install \
  --no-deps --only-binary :all: --no-compile --no-input --progress-bar off --disable-pip-version-check --retries 3 --timeout 60 -r "$requirements"
setup_quiet peers-import "$environment/bin/python" -c 'import iceoryx2, nixl_cu12._api, numpy'
echo "$wanted" >"$stamp"
