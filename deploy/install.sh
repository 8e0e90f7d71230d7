#!/bin/sh
# Makes one environment and installs into it, from requirements with hashes, then the project itself.
#   deploy/install.sh ENVIRONMENT PROJECT REQUIREMENTS...
# Safe to repeat. PYTHON names the interpreter.
set -eu
environment=$1 project=$2
shift 2

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

[ -n "${PYTHON:-}" ] || fail "Python 3.11 or newer is needed and none was found. Install it, then run make again."
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed; $PYTHON is $("$PYTHON" -V 2>&1). Name another with: make PYTHON=/path/to/python3.11"

if [ ! -x "$environment/bin/python" ]; then
    printf 'Making %s ...\n' "$environment"
    "$PYTHON" -m venv "$environment" ||
        fail "No environment could be made at $environment. On Debian and Ubuntu: apt install python3-venv. Else check that you may write here."
fi
for requirements in "$@"; do
    printf 'Installing %s into %s ...\n' "$requirements" "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$requirements" ||
        fail "The packages in $requirements could not be installed. The lines above say which; if one has to be compiled: apt install gcc python3-dev."
done
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e "$project" ||
    fail "$project could not be installed into $environment; the lines above say why."
