#!/usr/bin/env bash
# Trains on a pod of Cloud TPUs: gets it, installs on all workers, trains, and gives it back.
set -euo pipefail
called_as=$0
launch=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=launch/environment.sh
source "$launch/environment.sh"
# shellcheck source=launch/commands.sh
source "$launch/commands.sh"

usage() {
  cat <<'TEXT'
usage: launch/tpu_pod.sh ACTION --name=NAME --zone=ZONE [OPTION]… [-- ARGUMENT…]

ACTION is one of
  train    create, install and run; again after a preemption or a failure; delete at the end
  create   ask for the pod as a queued resource, and wait until it is there
  install  copy this checkout to all workers, and make .venv with the extra `tpu` there
  run      `python -m nanojaxlm.main ARGUMENT… --distributed` on all workers; wait for its end
  wait     wait for the end of what runs already, as after a lost connection
  stop     end training on all workers, after a checkpoint
  delete   give the pod back

  --name=NAME           of the queued resource and its nodes
  --zone=ZONE           such as us-west4-a
  --project=PROJECT     else gcloud's own setting
  --accelerator=TYPE    v4-…, v5litepod-…, v5p-… or v6e-…, such as v5litepod-256
                        (v4 and v5p count cores, two a chip: v5p-128 has 64 chips)
  --slices=K            so many of these, joined by the data-centre network (1)
  --spot                preemptible, cheaper
  --runtime=VERSION     software of the machines (that which fits the accelerator)
  --create-flag=FLAG    handed on to `gcloud … create`, such as --create-flag=--reserved; repeatable
  --setup=COMMAND       a shell command for every worker after the installation, such as one that
                        mounts the folder that --workdir and the token store lie in
  --max-restarts=N      failures in a row, each within an hour of its start, until it gives up (10);
                        preemptions do not count
  --poll-seconds=S      between two looks at a pod that is awaited (30)
  --keep                leave the pod there at the end (it costs money until it is deleted)
  --dry-run             print the commands instead of running them
  --help                this text

--workdir must be a folder that all workers share. Training goes on there from its newest checkpoint
when it starts again. `train` deletes the pod however it ends, Ctrl-C included (after a
checkpoint), unless it was there before or --keep is given. With several workers gcloud wants the
key in an agent: ssh-add ~/.ssh/google_compute_engine.

Exit codes: those of nanojaxlm.main (0 done, 2 a mistake, which is not tried again, 75 worth
retrying: here, after all restarts); 2 a mistake in the call; 130 interrupted.
TEXT
}

action=
name='' zone='' project='' accelerator='' runtime='' setup=''
slices=1 max_restarts=10 poll=30 keep=false
create_flags=()
while (($#)); do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --dry-run) dry_run=true ;;
    --keep) keep=true ;;
    --spot) create_flags+=(--spot) ;;
    --name=?*) name=${1#*=} ;;
    --zone=?*) zone=${1#*=} ;;
    --project=?*) project=${1#*=} ;;
    --accelerator=?*) accelerator=${1#*=} ;;
    --runtime=?*) runtime=${1#*=} ;;
    --setup=?*) setup=${1#*=} ;;
    --slices=?*) slices=${1#*=} ;;
    --max-restarts=?*) max_restarts=${1#*=} ;;
    --poll-seconds=?*) poll=${1#*=} ;;
    --create-flag=?*) create_flags+=("${1#*=}") ;;
    --)
      shift
      break
      ;;
    -*)
      usage >&2
      fail "unknown option $1; arguments of nanojaxlm.main come after --"
      ;;
    *)
      [[ -z $action ]] || fail "$1: arguments of nanojaxlm.main come after --"
      action=$1
      ;;
  esac
  shift
done
[[ $action == @(train|create|install|run|wait|stop|delete) ]] ||
  fail "the action is '$action'; it must be train, create, install, run, wait, stop or delete"
[[ -n $name ]] || fail "--name is missing, as in --name=llama"
[[ -n $zone ]] || fail "--zone is missing, as in --zone=us-west4-a"
at_least "$slices" 1 || fail "--slices=$slices must be 1 or more"
at_least "$max_restarts" 0 || fail "--max-restarts=$max_restarts must be 0 or more"
at_least "$poll" 0 || fail "--poll-seconds=$poll must be 0 or more"
case $accelerator in
  v4-*) platform=v4 default_runtime=tpu-ubuntu2204-base ;;
  v5litepod-*) platform=v5e default_runtime=v2-alpha-tpuv5-lite ;;
  v5p-*) platform=v5p default_runtime=v2-alpha-tpuv5 ;;
  v6e-*) platform=v6e default_runtime=v2-alpha-tpuv6e ;;
  *)
    [[ $action == @(install|wait|stop|delete) ]] ||
      fail "--accelerator='$accelerator' must be v4-…, v5litepod-…, v5p-… or v6e-…"
    ;;
esac
[[ $action != @(train|run) ]] || (($#)) ||
  fail "what to train is missing: -- --config=FILE --workdir=FOLDER"
where=("--zone=$zone")
[[ -z $project ]] || where+=("--project=$project")
$dry_run || command -v gcloud >/dev/null ||
  fail "gcloud is not on PATH; install the Google Cloud CLI (cloud.google.com/sdk)"

exec 3>&1 # what --dry-run prints, even where an output is read
queue() {
  execute gcloud compute tpus queued-resources "$@"
}

# One shell command on all workers of all slices; comes back with the exit code of one that failed.
on_workers() {
  queue ssh "$name" "${where[@]}" --worker=all --node=all "--command=$1"
}

# Prints ACTIVE, PROVISIONING, SUSPENDED, … as gcloud says it, ABSENT, or UNKNOWN where it cannot.
pod_state() {
  local said errors
  if $dry_run; then
    queue describe "$name" "${where[@]}" "--format=value(state.state)" >&3
    printf '%s\n' "${1:-ACTIVE}"
    return
  fi
  errors=$(mktemp)
  if said=$(queue describe "$name" "${where[@]}" "--format=value(state.state)" 2>"$errors"); then
    printf '%s\n' "${said:-UNKNOWN}"
  elif grep --quiet --ignore-case -e NOT_FOUND -e 'not found' "$errors"; then
    printf 'ABSENT\n'
  else
    cat -- "$errors" >&2
    printf 'UNKNOWN\n'
  fi
  rm -f -- "$errors"
}

ask_for_pod() {
  local nodes=("--node-id=$name")
  ((slices == 1)) || nodes=("--node-count=$slices" "--node-prefix=$name")
  queue create "$name" "${where[@]}" "--accelerator-type=$accelerator" \
    "--runtime-version=${runtime:-$default_runtime}" "${nodes[@]}" "${create_flags[@]}" ||
    fail "gcloud could not ask for $name; the lines above say why"
}

# Waits until the pod is there: 0, or 1 where it failed or was taken back.
await_pod() {
  local state before='' unknown=0
  while :; do
    state=$(pod_state)
    [[ $state == "$before" ]] || say "$name: $state" >&2
    before=$state
    case $state in
      ACTIVE) return 0 ;;
      ABSENT | FAILED | SUSPENDING | SUSPENDED | DELETING) return 1 ;;
      UNKNOWN)
        ((++unknown < 20)) || fail "gcloud does not say how $name is; the lines above say why"
        ;;
      *) unknown=0 ;;
    esac
    sleep "$poll"
  done
}

install_on_workers() {
  local archive=$repository/out/nanojaxlm.tar.gz command
  execute mkdir -p "$repository/out" || return
  execute tar --create --gzip "--file=$archive" "--directory=$repository" --exclude=./.git \
    --exclude=./.venv --exclude=./out --exclude=__pycache__ --exclude='*.egg-info' . || return
  queue scp "$archive" "$name:nanojaxlm.tar.gz" "${where[@]}" --worker=all --node=all || return
  command='mkdir -p nanojaxlm && tar -xzf nanojaxlm.tar.gz -C nanojaxlm'
  command+=' && nanojaxlm/launch/worker.sh install tpu'
  [[ -z $setup ]] || command+=" && ( $setup )"
  on_workers "$command"
}

waiting=
wait_for_end() {
  local status attempt
  for ((attempt = 0; attempt < 5; attempt++)); do
    status=0
    on_workers 'nanojaxlm/launch/worker.sh wait' & # so that a signal to this script is heard at once
    waiting=$!
    wait "$waiting" || status=$?
    waiting=
    # 255: ssh itself failed. The workers do not mind: look again, if they are still there.
    ((status == 255)) || break
    say "the connection was lost" >&2
    sleep "$poll"
    [[ $(pod_state) == ACTIVE ]] || break
  done
  return "$status"
}

running=false
run_on_workers() {
  running=true
  on_workers "nanojaxlm/launch/worker.sh start $platform -- $(quoted "$@" --distributed)" || return
  wait_for_end
}

created=false
delete_pod() {
  queue delete "$name" "${where[@]}" --force --quiet
}

# However `train` ends.
# shellcheck disable=SC2329 # the trap calls it
give_back() {
  local status=$?
  trap '' INT TERM
  trap - EXIT
  [[ -z $waiting ]] || kill "$waiting" 2>/dev/null || true
  if $running && ((status >= 128)); then
    say "ending training after a checkpoint" >&2
    on_workers 'nanojaxlm/launch/worker.sh stop' || true
  fi
  if $created && ! $keep; then
    delete_pod || [[ $(pod_state) == ABSENT ]] || {
      printf 'error: %s could not be deleted and may cost money; run: %s delete --name=%q --zone=%q\n' \
        "$name" "$called_as" "$name" "$zone" >&2
      ((status)) || status=75
    }
  elif $created; then
    say "$name is kept, and costs money until: $called_as delete --name=$name --zone=$zone" >&2
  fi
  exit "$status"
}

train() {
  local status started failures=0 installed=false
  case $(pod_state ABSENT) in
    ABSENT) ;;
    UNKNOWN) fail "gcloud does not say whether $name exists; the lines above say why" ;;
    FAILED | SUSPENDING | SUSPENDED | DELETING) $dry_run || delete_pod ;;
    *) installed=maybe && say "$name exists already: it is used, and kept at the end" >&2 ;;
  esac
  trap give_back EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  while :; do
    if [[ $installed == false ]]; then
      created=true
      ask_for_pod
    fi
    status=75 started=$SECONDS
    if await_pod; then
      if [[ $installed == true ]] || install_on_workers; then
        installed=true status=0
        run_on_workers "$@" || status=$?
      fi
      case $status in 0 | 2) return "$status" ;; esac
      say "training ended with code $status" >&2
    fi
    ((SECONDS - started < 3600)) || failures=0
    case $(pod_state) in
      FAILED) ((++failures)) ;;& # no capacity, or no right to it
      ABSENT | FAILED | SUSPENDING | SUSPENDED | DELETING)
        say "$name was taken back: asking for another" >&2
        delete_pod || true
        installed=false running=false
        ;;
      *) ((++failures)) ;;
    esac
    if ((failures > max_restarts)); then
      say "giving up after $failures failures in a row" >&2
      return "$status"
    fi
    sleep "$poll"
  done
}

status=0
case $action in
  create)
    ask_for_pod
    await_pod || fail "$name was not granted; look at it with: gcloud compute tpus queued-resources describe $name ${where[*]}"
    ;;
  install) install_on_workers || status=$? ;;
  run) run_on_workers "$@" || status=$? ;;
  wait) wait_for_end || status=$? ;;
  stop) on_workers 'nanojaxlm/launch/worker.sh stop' || status=$? ;;
  delete) delete_pod || status=$? ;;
  train) train "$@" || status=$? ;;
esac
exit "$status"
