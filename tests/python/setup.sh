#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the virtual environment of the tests against the real Python connector: build/python, or the folder named by
# OMNICONN_PYTHON_ENV. Says nothing when it went well, and does nothing when what requirements.txt asks for is there.
# Several may run at once. Whatever is missing is an error, so that a suite that needs it fails instead of skipping.
#
#     tests/python/setup.sh && build/python/bin/python tests/python/self_test.py
#
# OMNICONN_PYTHON names the interpreter (default: /usr/bin/python3, else the first python3 in PATH; 3.11 or newer).
set -euo pipefail
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
environment=$(realpath -m -- "${OMNICONN_PYTHON_ENV:-$here/../../build/python}")
requirements=$here/requirements.txt
stamp=$environment/.omniconn-complete
ours=$environment/.omniconn-environment

fail() {
  echo "tests/python/setup.sh: $*" >&2
  exit 1
}

python=${OMNICONN_PYTHON:-}
if [ -z "$python" ]; then
  if [ -x /usr/bin/python3 ]; then python=/usr/bin/python3; else python=$(command -v python3) || fail "python3 is not installed"; fi
fi

# The folder is part of the stamp because a virtual environment does not survive being moved or copied.
wanted=$(printf '%s\n%s\n' "$environment" "$python" | cat - "$requirements" | sha256sum)
complete() { [ -x "$environment/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; }
! complete || exit 0

mkdir -p "$(dirname "$environment")"
exec 9>"$environment.lock"
flock 9
! complete || exit 0 # somebody else made it while we waited

command -v -- "$python" >/dev/null || fail "there is no $python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is older than Python 3.11; name another with OMNICONN_PYTHON"
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python cannot make virtual environments; as root: apt-get install python3-venv"
if [ -e "$environment" ] && [ ! -e "$ours" ] && [ -n "$(ls -A "$environment")" ]; then
  fail "$environment is there and is not one of ours; remove it or name another folder with OMNICONN_PYTHON_ENV"
fi

log=$environment.log
quietly() { # WHAT COMMAND...
  local what=$1
  shift
  "$@" >>"$log" 2>&1 </dev/null 9>&- || {
    tail -n 20 "$log" >&2
    fail "$what failed; the whole output is in $log"
  }
}

: >"$log"
rm -rf "$environment"
mkdir -p "$environment"
touch "$ours"
quietly "making the virtual environment" "$python" -m venv "$environment"
quietly "installing what requirements.txt names" "$environment/bin/python" -m pip install \
  --no-deps --only-binary :all: --no-compile --no-input --progress-bar off --disable-pip-version-check --retries 3 --timeout 30 -r "$requirements"
quietly "importing what was installed" "$environment/bin/python" -c 'import msgspec, numpy, PIL.Image, yaml, zmq'
echo "$wanted" >"$stamp.new"
mv "$stamp.new" "$stamp"
