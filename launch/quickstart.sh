#!/usr/bin/env bash
# From raw text to a trained, sampled model, with a report at the end.
set -euo pipefail
called_from=$PWD
# shellcheck source=launch/environment.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/environment.sh"

usage() {
  cat <<'TEXT'
usage: launch/quickstart.sh [--output=DIR] [--prompt=TEXT]… [--config.FIELD=VALUE]… [--setup-only]
                            [PATH…]

Makes .venv, then curates documents, trains a tokenizer and a small language model on them,
evaluates it on held-out documents, samples from it, and writes a report: DIR/report.html.
A call that was interrupted goes on where it stopped when it is repeated.

  PATH…         your own text: .txt .md .rst .html .py .jsonl .jsonl.gz .zst .parquet, folders of
                them, or URLs such as gs:// s3:// https://. Without one: text that comes with
                every Python (the standard library, licences and documentation of packages).
  --output=DIR  where everything goes; out/quickstart in the repository if no PATH is named, else
                out/quickstart-KEY there, KEY being derived from the PATHs: so each set of PATHs
                has its own run, and repeating a call finds it again.
  --prompt=TEXT what the model shall continue at the end; may be given several times
  --config.FIELD=VALUE
                a field of the training, such as --config.training.steps=2000
  --curation.FIELD=VALUE
                a field of the curation: --curation.tokenizer.vocab_size=2000 for a small text
  --setup-only  stop when the environment is ready
  --help        this text

PYTHON=/path/to/python chooses the interpreter (3.11, 3.12 or 3.13).
Exit codes: 0 done; 2 a mistake in the call, the config or the data; 75 worth repeating unchanged
(disk full, storage out of reach); 130 interrupted; 1 a fault of the program.
TEXT
}

# A path as seen from where the script was called; a URL stays as it is.
absolute() {
  case $1 in
    *://* | /*) printf '%s\n' "$1" ;;
    *) printf '%s\n' "$called_from/$1" ;;
  esac
}

setup_only=false
output=
prompts=()
training=()
curation=()
inputs=()
while (($#)); do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --setup-only) setup_only=true ;;
    --output=?*) output=$(absolute "${1#*=}") ;;
    --config.*=*) training+=("$1") ;;
    --curation.*=*) curation+=("--config.${1#--curation.}") ;;
    --prompt=*) prompts+=("${1#*=}") ;;
    --output | --prompt)
      (($# > 1)) || fail "$1 needs a value: $1=…"
      if [[ $1 == --output ]]; then output=$(absolute "$2"); else prompts+=("$2"); fi
      shift
      ;;
    --)
      shift
      for path in "$@"; do inputs+=("$(absolute "$path")"); done
      break
      ;;
    -*)
      usage >&2
      fail "unknown option $1"
      ;;
    *) inputs+=("$(absolute "$1")") ;;
  esac
  shift
done
for path in "${inputs[@]}"; do
  [[ $path == *://* || $path == *[*?[]* || -e $path ]] || fail "$path: there is no such file or folder"
done

prepare_environment ""
if $setup_only; then
  exit 0
fi

key=
if ((${#inputs[@]})); then
  key=$(printf '%s\n' "${inputs[@]}" | sort | sha256sum | cut -c 1-8)
  ((${#prompts[@]})) || prompts=("The " "In ")
else
  ((${#prompts[@]})) || prompts=("The " "def __init__(self, " "Returns ")
fi
output=${output:-$repository/out/quickstart${key:+-$key}}
mkdir -p -- "$output" || fail "$output cannot be made; name another folder with --output=DIR"
[[ -w $output ]] || fail "$output cannot be written; name another folder with --output=DIR"
# Paths below the repository are shown short: the report's commands are run from there.
output=${output#"$repository/"}

# A folder belongs to one set of inputs.
printf '%s\n' "${inputs[@]:-(text that comes with Python)}" | sort >"$output/inputs.txt.new"
if [[ -e $output/inputs.txt ]] && ! cmp -s "$output/inputs.txt" "$output/inputs.txt.new"; then
  rm -f -- "$output/inputs.txt.new"
  fail "$output holds a run on other inputs (see inputs.txt there); name another --output=DIR"
fi
mv -- "$output/inputs.txt.new" "$output/inputs.txt"

# Runs one step, notes its time and memory, and ends the script with its exit code if it fails.
step() {
  local name=$1 status=0
  shift
  say "$name: $*"
  "$venv_python" launch/measure.py --timings="$output/timings.json" --name="$name" -- \
    "$venv_python" "$@" || status=$?
  if ((status)); then
    printf '%s ended with exit code %d; repeat this call to go on from there\n' \
      "$name" "$status" >&2
    if [[ $name == curate && $status == 2 ]]; then
      printf 'give fields of its config to this script as --curation.FIELD=VALUE\n' >&2
    fi
    exit "$status"
  fi
}

if [[ -n $setup_seconds ]]; then
  "$venv_python" launch/measure.py --timings="$output/timings.json" --name=environment \
    --seconds="$setup_seconds"
fi
((${#inputs[@]})) || inputs=(python) # what data_pipeline calls the text of this Python
step curate -m data_pipeline.main --config=configs/curation/quickstart.py \
  "${curation[@]}" "${inputs[@]/#/--input=}" --output="$output/curation"
step train -m nanojaxlm.main --config=configs/quickstart.py \
  --config.data.stores="$output/curation/store" "${training[@]}" --workdir="$output/run"
step evaluate -m nanojaxlm.evaluate --checkpoint="$output/run"
step generate -m nanojaxlm.generate --checkpoint="$output/run" "${prompts[@]/#/--prompt=}"
step report -m nanojaxlm.report --curation="$output/curation" --workdir="$output/run" \
  --output="$output/report.html"
say "done: $output/report.html"
