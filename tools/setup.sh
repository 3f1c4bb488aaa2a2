#!/usr/bin/env bash
# Installs what is missing: setup.sh CACHE UV PACKAGE...
# System packages only as root (otherwise it says which); uv into CACHE; the Python environment into .venv.
set -euo pipefail

cache=$1
uv=$2
shift 2

missing=()
if command -v dpkg-query >/dev/null; then
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    # A JDK or Maven that did not come as a package does as well.
    command -v javac >/dev/null && missing=("${missing[@]/openjdk-17-jdk-headless/}")
    command -v mvn >/dev/null && missing=("${missing[@]/maven/}")
    missing=($(printf '%s\n' "${missing[@]}" | sed '/^$/d'))
fi
if ((${#missing[@]})); then
    if [[ $(id -u) == 0 ]]; then
        echo "installing system packages: ${missing[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "system packages are missing; install them with:" >&2
        echo "  sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
fi

if ! command -v cargo >/dev/null; then
    echo "cargo was not found; install Rust 1.95 or newer, for example with rustup" >&2
    exit 1
fi

if [[ ! -x $uv ]]; then
    echo "installing uv into $cache/tools/uv"
    python3 -m venv "$cache/tools/uv"
    "$cache/tools/uv/bin/pip" install --quiet uv
fi
