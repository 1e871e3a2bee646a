#!/usr/bin/env bash
# Sets up one worker of a pod, and keeps training running there whether anyone is logged in or not.
set -euo pipefail
launch=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=launch/environment.sh
source "$launch/environment.sh"
# shellcheck source=launch/commands.sh
source "$launch/commands.sh"

usage() {
  cat <<'TEXT'
usage: launch/worker.sh install EXTRA                     make .venv with an extra: tpu, gpu
       launch/worker.sh start PLATFORM -- ARGUMENT…       train in the background
       launch/worker.sh wait                              show what it says, end as it ends
       launch/worker.sh stop                              end it, after a checkpoint

`start` runs `python -m nanojaxlm.main ARGUMENT…` with the XLA flags of PLATFORM (launch/xla_flags.sh)
and comes back at once; what still ran there from before is ended first. `wait` may be called
again after a connection was lost: training does not notice. launch/tpu_pod.sh calls these on all
workers of a pod. Log and exit code lie in out/worker.

install fetches Python 3.12 with uv where the machine has none of 3.11 to 3.13.
NANOJAXLM_PYTHON=/path/to/python names an interpreter that has the packages instead of .venv.
Exit codes: of wait those of nanojaxlm.main, or 75 where it was killed; else 0, or 2 for a mistake.
TEXT
}

state=$repository/out/worker
log=$state/log
exit_code=$state/exit_code

running_group() {
  local group
  group=$(cat -- "$state/group" 2>/dev/null) || return 1
  kill -0 -- "-$group" 2>/dev/null || return 1
  printf '%s\n' "$group"
}

stop_training() {
  local group patience=${1:-120}
  group=$(running_group) || return 0
  say "ending what still runs (process group $group)"
  kill -TERM -- "-$group" 2>/dev/null || true
  while ((patience-- > 0)) && kill -0 -- "-$group" 2>/dev/null; do
    sleep 1
  done
  kill -KILL -- "-$group" 2>/dev/null || true
}

case ${1:-} in
  --help | -h) usage ;;
  install)
    (($# == 2)) || fail "name one extra, as in launch/worker.sh install tpu"
    export PATH=$HOME/.local/bin:$PATH
    if [[ -z ${NANOJAXLM_PYTHON:-} && ! -x $venv_python ]] && ! (find_python) &>/dev/null; then
      command -v uv >/dev/null || PIP_USER=1 python3 -m pip install --quiet --user uv
      uv python install --quiet 3.12
    fi
    find_runtime "$2"
    ;;
  start)
    [[ ${3:-} == -- ]] || fail "arguments of nanojaxlm.main come after --, as in launch/worker.sh start v5e -- --config=…"
    flags=$("$launch/xla_flags.sh" "$2")
    extra=tpu variable=LIBTPU_INIT_ARGS
    [[ $2 != gpu ]] || extra=gpu variable=XLA_FLAGS
    find_runtime "$extra" # made by install: nothing but a check
    export "$variable=$flags${!variable:+ ${!variable}}"
    shift 3
    stop_training
    mkdir -p -- "$state"
    rm -f -- "$exit_code"
    cd -- "$repository"
    setsid -- "$launch/worker.sh" attend "$venv_python" -m nanojaxlm.main "$@" </dev/null &>"$log" &
    printf '%d\n' "$!" >"$state/group"
    say "training: process group $!, log in $log"
    ;;
  attend) # what start leaves behind
    trap : TERM # a signal to the group is for the training; its exit code is written all the same
    status=0
    "${@:2}" || status=$?
    printf '%d\n' "$status" >"$exit_code.new"
    mv -- "$exit_code.new" "$exit_code"
    ;;
  wait)
    [[ -e $log ]] || fail "nothing was started here; launch/worker.sh start comes first"
    if group=$(running_group); then
      tail --pid="$group" --lines=20 --follow=name -- "$log"
    else
      tail --lines=20 -- "$log"
    fi
    [[ -e $exit_code ]] || {
      printf 'error: training on %s was killed; its log is %s\n' "$(hostname)" "$log" >&2
      exit 75
    }
    exit "$(cat -- "$exit_code")"
    ;;
  stop) stop_training "${2:-300}" ;;
  *)
    usage >&2
    fail "unknown action '${1:-}'"
    ;;
esac
