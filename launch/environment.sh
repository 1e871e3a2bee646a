# shellcheck shell=bash
# The environment that every script of launch/ runs in; sourced, not run.
#
# `prepare_environment EXTRA` makes .venv in the repository's root, or takes the one that is there,
# and sets `venv_python`. EXTRA is "" or an extra of setup.cfg. A stamp in .venv says what it was
# made from (setup.cfg, pyproject.toml, this file, the place of the checkout, Python's version): a
# second call that finds the same installs nothing.
#
# Read from the surroundings: PYTHON (the interpreter to make .venv with), and whatever uv and pip
# read themselves (UV_*, PIP_*, pip.conf).

repository=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)
venv=$repository/.venv
venv_python=$venv/bin/python
# Four lines: what it was made from, Python's version, the extras, the place of the checkout.
stamp=$venv/nanojaxlm.stamp
setup_seconds= # stays empty where nothing had to be installed

# daft reports to its makers when it is imported; nothing of this project may call out.
export DO_NOT_TRACK=true SCARF_NO_ANALYTICS=true DAFT_ANALYTICS_ENABLED=0
# Settings of a user's shell that would put packages or modules where .venv does not look.
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONNOUSERSITE=1
unset PYTHONHOME PYTHONPATH

tenths() {
  local nanoseconds
  nanoseconds=$(date +%s%N)
  printf '%d' $((nanoseconds / 100000000))
}
started_at=$(tenths)

elapsed() {
  local passed=$(($(tenths) - started_at))
  printf '%d.%d' $((passed / 10)) $((passed % 10))
}

say() {
  printf '[%6s s] %s\n' "$(elapsed)" "$*"
}

# A mistake of the user or of the machine: exit code 2, as in nanojaxlm/errors.py.
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# Prints "3.12.1" if $1 is a Python that this project runs on, else nothing. It has to be run to
# know: a pyenv shim may be on PATH and yet fail, and a Python built by hand may lack a module.
supported_version() {
  "$1" -I -c '
import ctypes, lzma, ssl, sys, zlib
if (3, 11) <= sys.version_info[:2] <= (3, 13):
    print(*sys.version_info[:3], sep=".")
' 2>/dev/null || true
}

# Prints the interpreter to make .venv with. The user's `python3` comes before newer ones: it is
# the one most likely to be complete.
find_python() {
  local candidate
  if [[ -n ${PYTHON:-} ]]; then
    [[ -n $(supported_version "$PYTHON") ]] ||
      fail "PYTHON=$PYTHON does not run as a Python 3.11, 3.12 or 3.13 with ctypes, lzma, ssl and" \
        "zlib; name one that does, or unset PYTHON"
    printf '%s\n' "$PYTHON"
    return
  fi
  for candidate in python3 python3.13 python3.12 python3.11 python; do
    if [[ -n $(supported_version "$candidate") ]]; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  if candidate=$(uv python find --no-project '>=3.11,<3.14' 2>/dev/null); then
    printf '%s\n' "$candidate"
    return
  fi
  fail "no Python 3.11, 3.12 or 3.13 with ctypes, lzma, ssl and zlib runs on PATH; install one" \
    "(Debian, Ubuntu: apt install python3 python3-venv; with uv: uv python install 3.12) or name it: PYTHON=/path/to/python $0"
}

environment_key() {
  {
    cat -- "$repository/setup.cfg" "$repository/pyproject.toml" "$repository/launch/environment.sh"
    printf '%s\n' "$repository"
  } | sha256sum | cut -d ' ' -f 1
}

# Sets stamped_key, stamped_version, stamped_extras, stamped_repository; empty without a stamp.
read_stamp() {
  stamped_key='' stamped_version='' stamped_extras='' stamped_repository=''
  [[ -r $stamp ]] || return 0
  {
    read -r stamped_key
    read -r stamped_version
    read -r stamped_extras
    read -r stamped_repository
  } <"$stamp" || true
}

# True if .venv runs and was made from the same files, at least with the extra $1.
environment_is_ready() {
  read_stamp
  [[ -n $stamped_version && $stamped_key == "$(environment_key)" ]] || return 1
  [[ $stamped_version == "$(supported_version "$venv_python")" ]] || return 1
  [[ -z ${PYTHON:-} || $stamped_version == "$(supported_version "$PYTHON")" ]] || return 1
  [[ -z $1 || " $stamped_extras " == *" $1 "* ]]
}

# True if .venv may be installed into: it runs, is of the wanted version, and was not copied here
# from another checkout (the paths inside it are absolute).
venv_is_sound() {
  local version
  version=$(supported_version "$venv_python")
  [[ -n $version ]] || return 1
  [[ -z ${PYTHON:-} || $version == "$(supported_version "$PYTHON")" ]] || return 1
  [[ -z $stamped_repository || $stamped_repository == "$repository" ]]
}

# uv does not read pip's configuration: hand on the package index, so that a mirror keeps working.
pip_settings_for_uv() {
  local name value
  while IFS='=' read -r name value; do
    value=${value#\'} value=${value%\'} value=${value//\\n/ }
    case ${name##*.} in
      index-url) export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$value}" ;;
      extra-index-url) export UV_INDEX="${UV_INDEX:-$value}" UV_INDEX_STRATEGY=unsafe-best-match ;;
      find-links) export UV_FIND_LINKS="${UV_FIND_LINKS:-${value// /,}}" ;;
      cert) export SSL_CERT_FILE="${SSL_CERT_FILE:-$value}" ;;
    esac
  done < <("$1" -m pip config list 2>/dev/null || true)
}

# Makes an empty .venv with $1. uv needs nothing; venv needs ensurepip, which Debian ships apart;
# without it a pip of the system can still fill a bare environment.
make_venv() {
  local python=$1
  rm -rf -- "$venv"
  if command -v uv >/dev/null; then
    uv venv --quiet --no-project --python \
      "$("$python" -c 'import sys; print(sys.executable)')" "$venv" && return
    rm -rf -- "$venv"
  fi
  if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    "$python" -m venv "$venv"
  elif "$python" -c 'import pip, venv' 2>/dev/null; then
    "$python" -m venv --without-pip "$venv"
  else
    fail "$python cannot make a virtual environment: it lacks ensurepip; install that (Debian," \
      "Ubuntu: apt install python3-venv) or uv (https://docs.astral.sh/uv), then run this again"
  fi
}

# Installs "$@" into .venv: with uv where there is one or pip can fetch it, else with pip. $1 is
# the interpreter whose pip serves a .venv that has none.
install_with() {
  local base_python=$1 uv cache pip=("$venv_python" -m pip)
  shift
  "${pip[@]}" --version &>/dev/null || pip=("$base_python" -m pip --python "$venv_python")
  uv=$(command -v uv || true)
  if [[ -z $uv ]]; then
    "${pip[@]}" install --quiet uv || say "environment: uv cannot be had here; going on with pip"
    uv=$venv/bin/uv
  fi
  if [[ -x $uv ]]; then
    cache=${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/uv}
    mkdir -p -- "$cache" 2>/dev/null && [[ -w $cache ]] || cache=$venv/cache # a read-only home
    UV_CACHE_DIR=$cache "$uv" pip install --quiet --python "$venv_python" "$@" && return
    say "environment: uv failed; trying once more with pip"
  fi
  "${pip[@]}" install --quiet "$@"
}

prepare_environment() {
  local extra=$1 extras before passed base_python version target=.
  cd -- "$repository" || exit
  if environment_is_ready "$extra"; then
    say "environment: $venv is up to date"
    return
  fi
  [[ -w $repository ]] ||
    fail "$repository cannot be written by $(id -un), and .venv is made there; copy the" \
      "repository (cp -r $repository ~/nanojaxlm) and run this from the copy"
  exec 9<"$repository"
  if command -v flock >/dev/null && ! flock --nonblock 9; then
    say "environment: another call is making $venv; waiting for it"
    flock 9
    if environment_is_ready "$extra"; then
      exec 9<&-
      return
    fi
  fi
  before=$(tenths)
  if [[ -z ${PYTHON:-} ]] && venv_is_sound; then
    base_python=$venv_python
  else
    base_python=$(find_python)
  fi
  version=$(supported_version "$base_python")
  pip_settings_for_uv "$base_python"
  extras=$extra
  if venv_is_sound; then
    # An extra that was installed stays: the scripts take turns without undoing each other.
    extras=$stamped_extras
    [[ -z $extra || " $extras " == *" $extra "* ]] || extras="${extras:+$extras }$extra"
  else
    say "environment: making $venv with Python $version ($(command -v "$base_python"))"
    make_venv "$base_python"
  fi
  rm -f -- "$stamp"
  [[ -z $extras ]] || target=".[${extras// /,}]"
  say "environment: installing $target and what it needs"
  install_with "$base_python" -e "$target" ||
    fail "the packages could not be installed; the lines above say why (can this machine reach" \
      "a package index?)"
  printf '%s\n' "$(environment_key)" "$version" "$extras" "$repository" >"$stamp.new"
  mv -- "$stamp.new" "$stamp"
  exec 9<&-
  passed=$(($(tenths) - before))
  # shellcheck disable=SC2034 # read by quickstart.sh
  setup_seconds=$((passed / 10)).$((passed % 10))
  say "environment: ready"
}
