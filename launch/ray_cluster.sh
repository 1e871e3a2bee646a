#!/usr/bin/env bash
# Curates on a Ray cluster: starts launch/ray_cluster.yaml, runs the pipeline there, and stops it.
set -euo pipefail
called_from=$PWD
launch=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=launch/environment.sh
source "$launch/environment.sh"
# shellcheck source=launch/commands.sh
source "$launch/commands.sh"

usage() {
  cat <<'TEXT'
usage: launch/ray_cluster.sh curate|up|exec|down [OPTION]… [-- ARGUMENT…]

`exec` runs `python -m data_pipeline.main ARGUMENT… --ray=auto` on the head of the cluster; `up` and
`down` start and stop its machines' Ray; `curate` is all three, and stops them however it ends.

  --cluster=FILE   the cluster (launch/ray_cluster.yaml: put your machines' addresses there)
  --checkout=DIR   this checkout on the cluster's machines (/shared/nanojaxlm)
  --keep           leave the cluster running at the end of curate
  --dry-run        print the commands instead of running them
  --help           this text

`ray` comes with the extra `distributed`. Every path of the arguments must lie on a disk that all of
the machines mount at the same place. A call that was interrupted goes on where it stopped when it
is repeated. Exit codes: those of data_pipeline.main and of ray; 2 a mistake in the call.
TEXT
}

action=
cluster=$launch/ray_cluster.yaml
checkout=/shared/nanojaxlm
keep=false
while (($#)); do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --dry-run) dry_run=true ;;
    --keep) keep=true ;;
    --cluster=/*) cluster=${1#*=} ;;
    --cluster=?*) cluster=$called_from/${1#*=} ;;
    --checkout=?*) checkout=${1#*=} ;;
    --)
      shift
      break
      ;;
    -*)
      usage >&2
      fail "unknown option $1; arguments of data_pipeline.main come after --"
      ;;
    *)
      [[ -z $action ]] || fail "$1: arguments of data_pipeline.main come after --"
      action=$1
      ;;
  esac
  shift
done
[[ $action == @(curate|up|exec|down) ]] ||
  fail "the action is '$action'; it must be curate, up, exec or down"
[[ -e $cluster ]] || fail "$cluster: there is no such file"
[[ $action != @(curate|exec) ]] || (($#)) ||
  fail "what to curate is missing: -- --config=FILE --input=FOLDER --output=FOLDER"
ray=ray
$dry_run || command -v ray >/dev/null || ray=$venv/bin/ray
$dry_run || command -v "$ray" >/dev/null ||
  fail "ray is not on PATH; it comes with the extra: pip install '.[distributed]'"

pipeline() {
  execute "$ray" exec "$cluster" \
    "cd $(quoted "$checkout") && python -m data_pipeline.main $(quoted "$@" --ray=auto)"
}

# However `curate` ends.
# shellcheck disable=SC2329 # the trap calls it
stop_cluster() {
  local status=$?
  trap '' INT TERM
  trap - EXIT
  $keep || execute "$ray" down "$cluster" --yes || status=$((status ? status : 75))
  exit "$status"
}

case $action in
  up) execute "$ray" up "$cluster" --yes ;;
  down) execute "$ray" down "$cluster" --yes ;;
  exec) pipeline "$@" ;;
  curate)
    trap stop_cluster EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    execute "$ray" up "$cluster" --yes
    pipeline "$@"
    ;;
esac
