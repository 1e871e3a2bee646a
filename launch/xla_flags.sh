#!/usr/bin/env bash
# Prints the flags of a platform that launch/xla_flags.txt holds, on one line.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: launch/xla_flags.sh PLATFORM

Prints the XLA flags for v4, v5e, v5p, v6e (those of every TPU, then its own) or gpu on one line:

  export LIBTPU_INIT_ARGS="$(launch/xla_flags.sh v5e)"     of a TPU, before Python starts
  export XLA_FLAGS="$(launch/xla_flags.sh gpu)"            of GPUs

The flags and the reason for each are in launch/xla_flags.txt. A flag that is set twice counts as
it is set last: append your own.
TEXT
}

case ${1:-} in
  --help | -h)
    usage
    exit 0
    ;;
  gpu) platforms=(gpu) ;;
  v4 | v5e | v5p | v6e) platforms=(tpu "$1") ;;
  *)
    usage >&2
    printf 'error: %s is no platform; it must be v4, v5e, v5p, v6e or gpu\n' "'${1:-}'" >&2
    exit 2
    ;;
esac
flags=()
for platform in "${platforms[@]}"; do
  while read -r of flag; do
    [[ $of != "$platform" ]] || flags+=("$flag")
  done <"$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/xla_flags.txt"
done
printf '%s\n' "${flags[*]}"
