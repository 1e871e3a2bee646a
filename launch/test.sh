#!/usr/bin/env bash
# Makes the environment with the test extra, then checks the format, the types, and all tests.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/environment.sh"

usage() {
  cat <<'TEXT'
usage: launch/test.sh [--fast] [--interop] [--pods] [--setup-only] [PYTEST_ARGUMENT…]

Makes .venv with the test extra (a second call reuses it), then runs ruff format --check,
ruff check, pyright and pytest on all cores. Exit code 0 if all of them pass.

  --fast        leave out the tests marked slow
  --interop     install transformers and a CPU build of torch (200 MB), and run the tests that
                compare with them too; without it, the last line says how many were left out
  --pods        compile every config of a pod for its pod too, which takes some 30 minutes more;
                without it, the last line says how many were left out
  --setup-only  stop when the environment is ready
  --help        this text

What follows goes to pytest: paths, or -k, -m, -n, -x, -q, -v, -s, --lf, --durations=N, --pdb.
After -- everything does. PYTHON=/path/to/python chooses the interpreter (3.11, 3.12 or 3.13).
TEXT
}

setup_only=false
extras=(test)
pytest_arguments=()
while (($#)); do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --setup-only) setup_only=true ;;
    --interop)
      extras+=(interop)
      pytest_arguments+=(--interop)
      ;;
    --pods) pytest_arguments+=(--pods) ;;
    --fast) pytest_arguments+=(-m "not slow") ;;
    --)
      shift
      pytest_arguments+=("$@")
      break
      ;;
    -k | -m | -n)
      (($# > 1)) || fail "$1 needs a value"
      pytest_arguments+=("$1" "$2")
      shift
      ;;
    -x | -q | -v | -vv | -s | --lf | --pdb | --durations=*) pytest_arguments+=("$1") ;;
    -*)
      usage >&2
      fail "unknown option $1; for pytest's own options put -- before them"
      ;;
    *) pytest_arguments+=("$1") ;;
  esac
  shift
done

prepare_environment "${extras[@]}"
if $setup_only; then
  exit 0
fi

failed=()
check() {
  say "$1"
  "$venv_python" -m "${@:2}" || failed+=("$1")
}

cores=$(nproc)
# The cores are taken by pytest's processes: one thread each for XLA and for BLAS.
export NPROC=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
export PYRIGHT_PYTHON_CACHE_DIR=$venv/cache/pyright PYRIGHT_PYTHON_IGNORE_WARNINGS=1

check "ruff format --check" ruff format --check --quiet .
check "ruff check" ruff check --quiet .
check "pyright" pyright --pythonpath "$venv_python"
((${#failed[@]} == 0)) || printf 'FAILED: %s\n' "${failed[@]}" >&2

say "pytest on $cores cores"
status=0
"$venv_python" -m pytest -n "$cores" "${pytest_arguments[@]}" || status=$?
if ((${#failed[@]})); then
  printf 'FAILED before pytest: %s\n' "${failed[@]}" >&2
  exit 1
fi
exit "$status"
