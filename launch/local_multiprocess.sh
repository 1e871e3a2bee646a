#!/usr/bin/env bash
# Trains with several processes on this machine, which meet on loopback as hosts of a pod do.
set -euo pipefail
launch=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=launch/environment.sh
source "$launch/environment.sh"
# shellcheck source=launch/commands.sh
source "$launch/commands.sh"

usage() {
  cat <<'TEXT'
usage: launch/local_multiprocess.sh N [--devices=D] [--port=P] [--grace-seconds=S] [--dry-run]
                                    -- ARGUMENT…

Starts N processes of `python -m nanojaxlm.main ARGUMENT…`, each with D virtual CPU devices, and
waits for them. Every line of theirs is shown with the number of its process before it.

  --devices=D        virtual CPU devices of each process (1)
  --port=P           the coordinator's port on 127.0.0.1 (one that is free, as is the one below)
  --grace-seconds=S  when a process fails, how long the others may take to notice and end (60);
                     then they get SIGTERM, and 10 s later SIGKILL
  --dry-run          print the commands instead of running them
  --help             this text

SIGTERM and Ctrl-C are handed on as SIGTERM: the processes save a checkpoint and end with code 75. A
second one kills them. NANOJAXLM_PYTHON=/path/to/python names an interpreter that has the packages;
else .venv is used. Exit code: that of the first process that failed, else 0.
TEXT
}

processes=
devices=1
port=
grace=60
while (($#)); do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --dry-run) dry_run=true ;;
    --devices=?*) devices=${1#*=} ;;
    --port=?*) port=${1#*=} ;;
    --grace-seconds=?*) grace=${1#*=} ;;
    --)
      shift
      break
      ;;
    -*)
      usage >&2
      fail "unknown option $1; arguments of nanojaxlm.main come after --"
      ;;
    *)
      [[ -z $processes ]] || fail "$1: arguments of nanojaxlm.main come after --"
      processes=$1
      ;;
  esac
  shift
done
[[ -n $processes ]] || fail "the number of processes is missing, as in launch/local_multiprocess.sh 4"
at_least "$processes" 1 || fail "the number of processes is $processes; it must be 1 or more"
at_least "$devices" 1 || fail "--devices=$devices must be 1 or more"
at_least "$grace" 0 || fail "--grace-seconds=$grace must be 0 or more"

find_runtime ""
if [[ -z $port ]]; then
  if $dry_run; then
    port=PORT # any that is free
  else
    port=$("$venv_python" -c '
import socket
def listening(port):
    one = socket.socket()
    one.bind(("127.0.0.1", port))
    return one
while True:  # the watch over the processes takes the port below the coordinator
    with listening(0) as upper:
        port = upper.getsockname()[1]
        try:
            listening(port - 1).close()
        except OSError:
            continue
    print(port)
    break')
  fi
fi

cd -- "$repository"
pids=()
stop=TERM
hand_on() {
  local pid
  for pid in "${pids[@]}"; do
    kill "-$stop" "$pid" 2>/dev/null || true
  done
  stop=KILL
}
trap hand_on TERM INT

for ((i = 0; i < processes; i++)); do
  command=(
    env JAX_PLATFORMS=cpu "JAX_NUM_CPU_DEVICES=$devices"
    "$venv_python" -m nanojaxlm.main "$@"
    "--coordinator=127.0.0.1:$port" "--num_processes=$processes" "--process_id=$i"
  )
  if $dry_run; then
    quoted "${command[@]}"
    continue
  fi
  "${command[@]}" </dev/null > >(exec sed -u "s/^/[$i] /") 2> >(exec sed -u "s/^/[$i] /" >&2) &
  pids+=("$!")
done

first_failure=0
deadline=
while ((${#pids[@]})); do
  running=()
  for pid in "${pids[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then
      running+=("$pid")
      continue
    fi
    status=0
    wait "$pid" || status=$?
    if ((status && first_failure == 0)); then
      first_failure=$status
      deadline=$((SECONDS + grace))
    fi
  done
  pids=("${running[@]}")
  if [[ -n $deadline ]] && ((${#pids[@]} && SECONDS >= deadline)); then
    printf '%d processes still run %d s after one failed; ending them with SIG%s\n' \
      "${#pids[@]}" "$grace" "$stop" >&2
    hand_on
    deadline=$((SECONDS + 10))
  fi
  sleep 0.1 || true # a signal ends it
done
exit "$first_failure"
