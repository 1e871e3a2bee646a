# shellcheck shell=bash
# What the scripts that start training share; sourced after environment.sh, not run.
#
# `dry_run=true` makes `execute` print a command, quoted for a shell, instead of running it: what it
# prints is what would run. `find_runtime EXTRA` sets `venv_python` to the interpreter to train with.
#
# Read from the surroundings: NANOJAXLM_PYTHON, an interpreter that has the packages already (a
# container's, a cluster's module); without it .venv is made or taken.

dry_run=false

# "$@" on one line, so that a shell reads the same words again.
quoted() {
  local line
  printf -v line '%q ' "$@"
  printf '%s\n' "${line% }"
}

execute() {
  if $dry_run; then
    quoted "$@"
  else
    "$@"
  fi
}

find_runtime() {
  if [[ -n ${NANOJAXLM_PYTHON:-} ]]; then
    command -v -- "$NANOJAXLM_PYTHON" >/dev/null ||
      fail "NANOJAXLM_PYTHON=$NANOJAXLM_PYTHON cannot be run; name an interpreter, or unset it"
    # shellcheck disable=SC2034 # read by the scripts that source this
    venv_python=$NANOJAXLM_PYTHON
  elif ! $dry_run; then
    prepare_environment "$@" >&2
  fi
}

# True if $1 is a whole number of at least $2.
at_least() {
  [[ $1 =~ ^[0-9]{1,9}$ ]] && ((10#$1 >= $2))
}
