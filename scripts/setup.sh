#!/bin/sh
# Make .venv: fsserver, editable, and the exact packages of constraints.txt. As root on Debian also install the programs
# that some tests talk to. A second run changes nothing, needs no network and takes a moment. PYTHON=/path/to/python3
# chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."

# Runs for the current user, is new enough, can make virtual environments.
usable() {
    "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# The system's interpreter first: every user can run it, and so use a .venv that another user made.
choose_python() {
    for candidate in ${PYTHON:-/usr/bin/python3 python3 python3.13 python3.12 python3.11}; do
        if usable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "setup: no Python 3.11 or newer that $(id -un) can run${PYTHON:+ (PYTHON=$PYTHON)}." >&2
    echo "setup: on Debian: sudo apt-get install python3 python3-venv" >&2
    return 1
}

# Debian ships it apart, in python3-venv.
has_ensurepip() {
    "$python" -m ensurepip --version >/dev/null 2>&1
}

# Any pip that can install into another environment (pip 22.3 or newer), for a Python without ensurepip.
foreign_pip() {
    for candidate in "$python" python3 python3.13 python3.12 python3.11; do
        if "$candidate" -m pip --python "$python" --version >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

can_apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
}

install_debian() {
    echo "setup: installing Debian's $*"
    { apt_install "$@" || { apt-get update -qq && apt_install "$@"; }; } >"$log" 2>&1 || { cat "$log" >&2; return 1; }
}

# The Debian packages whose programs are missing: what replicas share, what stands in front of them, what checks alerts.
missing_packages() {
    for pair in redis-server=redis-server nginx=nginx promtool=prometheus; do
        PATH="$PATH:/usr/sbin" command -v "${pair%=*}" >/dev/null || echo "${pair#*=}"
    done
}

# The programs alone: their services are started neither now nor at the next boot.
install_services() {
    if ! [ -e "$no_start" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$no_start"  # "forbidden", as invoke-rc.d(8) asks it
        chmod 755 "$no_start"
        trap 'rm -f "$log" "$no_start"' EXIT
    fi
    install_debian "$@" || return 1
    for service in "$@"; do
        update-rc.d "$service" disable >/dev/null
    done
}

add_services() {
    packages=$(missing_packages | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    # shellcheck disable=SC2086
    if can_apt && install_services $packages; then
        return
    fi
    echo "setup: without these Debian packages some tests are skipped: $packages" >&2
}

make_venv() {
    rm -rf .venv
    if ! has_ensurepip && can_apt; then
        install_debian python3-venv || echo "setup: apt-get failed; looking for another pip" >&2
    fi
    "$python" -m venv --without-pip .venv
    if has_ensurepip; then
        .venv/bin/python -m ensurepip --default-pip >"$log" 2>&1 || { cat "$log" >&2; return 1; }
        pip=".venv/bin/python -m pip"
    elif installer=$(foreign_pip); then
        pip="$installer -m pip --python .venv/bin/python"
    else
        echo "setup: $python has neither ensurepip nor pip." >&2
        echo "setup: on Debian: sudo apt-get install python3-venv, then make setup again." >&2
        return 1
    fi
}

# Hashes make it irrelevant where a file comes from; only wheels, so that installing runs no package's code. The file
# names every package, so nothing is resolved: pip would look at newer releases of what has an extra, and stop at them.
install_packages() {
    $pip install -qq --disable-pip-version-check --no-compile --require-hashes --only-binary :all: --no-deps \
        --requirement constraints.txt
    $pip install -qq --disable-pip-version-check --no-compile --no-index --no-deps --no-build-isolation \
        --editable .
    $pip check --disable-pip-version-check >"$log" || { cat "$log" >&2; return 1; }
    .venv/bin/python -m compileall -q -j 0 .venv/lib
}

# What a .venv depends on. The directory is part of it: an environment does not survive being copied.
stamp() {
    { pwd -P; "$1" -VV; cat pyproject.toml constraints.txt scripts/setup.sh; } 2>/dev/null | sha256sum
}

no_start=/usr/sbin/policy-rc.d
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ "$(stamp "${PYTHON:-.venv/bin/python}")" != "$(cat .venv/stamp 2>/dev/null)" ]; then
    python=$(choose_python)
    echo "setup: making .venv with $python"
    make_venv
    install_packages
    add_services
    stamp .venv/bin/python >.venv/stamp
fi
# At every run, since it costs little when nothing changed: a confined server cannot write bytecode itself.
.venv/bin/python -m compileall -qq fsserver || true
