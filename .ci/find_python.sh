#!/bin/sh
# Prints a Python that can make the virtual environment, or says what to install and fails.
# PYTHON=python3.x, if set, is the only one that is tried.
set -eu

too_old=""
no_venv=""
for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        too_old="$python is Python $version"
    elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        no_venv="$python (Python $version)"
    else
        echo "$python"
        exit 0
    fi
done

if [ -n "$no_venv" ]; then
    echo "neuraxis: $no_venv cannot make virtual environments. On Debian or Ubuntu:" \
        "apt-get install python3-venv (for a Python beside the system's: python3.N-venv)." >&2
elif [ -n "$too_old" ]; then
    echo "neuraxis needs Python 3.11 or newer, but $too_old. On Debian or Ubuntu:" \
        "apt-get install python3.11 python3.11-venv, or name another with PYTHON=python3.N." >&2
else
    echo "neuraxis needs Python 3.11 or newer, and ${PYTHON:-python3} does not run. On Debian or" \
        "Ubuntu: apt-get install python3 python3-venv." >&2
fi
exit 1
