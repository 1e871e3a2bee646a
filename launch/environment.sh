# shellcheck shell=bash
# The environment that every script of launch/ runs in; sourced, not run.
#
# `prepare_environment EXTRA…` makes .venv in the repository's root, or takes the one that is there,
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

# True if .venv runs and was made from the same files, at least with the extras "$@".
environment_is_ready() {
  local extra
  read_stamp
  [[ -n $stamped_version && $stamped_key == "$(environment_key)" ]] || return 1
  [[ $stamped_version == "$(supported_version "$venv_python")" ]] || return 1
  [[ -z ${PYTHON:-} || $stamped_version == "$(supported_version "$PYTHON")" ]] || return 1
  for extra in "$@"; do
    [[ -z $extra || " $stamped_extras " == *" $extra "* ]] || return 1
  done
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

# Sets pip to the command that installs into .venv: its own, else that of the interpreter $1.
find_pip() {
  pip=("$venv_python" -m pip)
  "${pip[@]}" --version &>/dev/null || pip=("$1" -m pip --python "$venv_python")
}

# Installs "$@" into .venv: with uv where there is one or pip can fetch it, else with pip. $1 is
# the interpreter whose pip serves a .venv that has none.
install_with() {
  local base_python=$1 uv cache pip
  shift
  find_pip "$base_python"
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

# True if what pip would install for "$@" holds neither CUDA nor a GPU's compiler. pip reads the
# packages' metadata for that and installs nothing.
is_free_of_cuda() {
  "${pip[@]}" install --dry-run --quiet --report - "$@" 2>/dev/null | "$venv_python" -c '
import json, sys
names = [package["metadata"]["name"].lower() for package in json.load(sys.stdin)["install"]]
sys.exit(any(name.startswith(("nvidia", "cuda", "triton")) for name in names))
' 2>/dev/null
}

# Installs a CPU build of torch into .venv, with pip: where the index that pip reads has one, from
# there, else from the index of torch's makers. The usual one for Linux pulls gigabytes of CUDA.
install_cpu_torch() {
  local pip from wanted=torch==2.13.0 makers=https://download.pytorch.org/whl/cpu
  find_pip "$1"
  if ! "${pip[@]}" --version &>/dev/null; then # a .venv that uv made for a Python without pip
    install_with "$1" pip || return
    find_pip "$1"
  fi
  if "$venv_python" -c 'import torch, sys; sys.exit(torch.version.cuda is not None)' 2>/dev/null; then
    return
  fi
  say "environment: installing a CPU build of torch"
  for from in "" "--index-url=$makers --retries=1 --timeout=20"; do
    # shellcheck disable=SC2086 # options, split at spaces
    if is_free_of_cuda $from "$wanted"; then
      "${pip[@]}" install --quiet $from "$wanted" || fail "$wanted could not be installed; see above"
      return
    fi
  done
  fail "no CPU build of $wanted for Python $(supported_version "$venv_python") can be had, neither" \
    "from pip's own index nor from $makers; put its wheel where pip finds it" \
    "(PIP_FIND_LINKS=FOLDER), or choose another interpreter (PYTHON=…)"
}

prepare_environment() {
  local extra extras before passed base_python version target=.
  cd -- "$repository" || exit
  if environment_is_ready "$@"; then
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
    if environment_is_ready "$@"; then
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
  if venv_is_sound; then
    # An extra that was installed stays: the scripts take turns without undoing each other.
    extras=$stamped_extras
    for extra in "$@"; do
      [[ -z $extra || " $extras " == *" $extra "* ]] || extras="${extras:+$extras }$extra"
    done
  else
    extras="$*"
    say "environment: making $venv with Python $version ($(command -v "$base_python"))"
    make_venv "$base_python"
  fi
  rm -f -- "$stamp"
  [[ -z $extras ]] || target=".[${extras// /,}]"
  if [[ " $extras " == *" interop "* ]]; then
    install_cpu_torch "$base_python"
  fi
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
