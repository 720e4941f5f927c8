#!/usr/bin/env bash
# The six stages, one after another.   bash run_all.sh [paper|cpu|smoke|test]
#
#   paper   the paper's models and SST-5, from the Hub; for a T4 (the default where CUDA is available)
#   cpu     a small real BERT and rated movie snippets, from the Python package index; for two CPU
#           cores (the default elsewhere)
#   smoke   random models and template sentences; no network, about a minute
#   test    sets up and runs the tests
#
# Settings, as environment variables. A relative path counts from the folder that you are in.
#   SEEDS="42 43 44"  train every model once for each of these seeds. BERT of one seed is compared with
#                     BERT of the next one, the last with the first; with one seed, BERT is therefore
#                     trained with seed + 1 too
#   DATA=DIR          other text: a folder with train, validation (or dev) and test .jsonl of text and label
#   PER_CLASS=30      test sentences of each class to explain
#   EXTRA="kd_twice kd_perturbed kd_hidden"   ablations of KD-aligned to train and explain as well
#   ARTIFACTS=DIR     where everything is written (default: artifacts for paper, artifacts-smoke,
#                     artifacts-cpu, with DATA artifacts-cpu-<name of its folder>)
#   BERT=DIR DISTILBERT=DIR TINYBERT=DIR   paper: folders in place of the Hub's models
#   TORCH_INDEX=URL   an index with CPU builds of torch, for setting up a machine without a GPU
# Finished models and explained sentences are kept: after an interruption, run the same command to resume.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")"

stop() { echo "error: $1" >&2; exit 2; }

# --- The words and settings, checked before anything long begins

preset=${1:-}
[ $# -le 1 ] || stop "run_all.sh takes one word, not '$*'; settings such as DATA=DIR stand in front: DATA=DIR bash run_all.sh $1"
case $preset in
  ""|paper|cpu|smoke|test) ;;
  *) stop "no preset '$preset'; it is one of paper, cpu, smoke, test" ;;
esac
for seed in ${SEEDS:-}; do
  [[ $seed =~ ^[1-9][0-9]{0,8}$ ]] || stop "SEEDS has '$seed'; each must be a whole number above 0, without a leading zero"
done
[ -z "$(tr -s ' ' '\n' <<< "${SEEDS:-}" | sort | uniq -d)" ] || stop "SEEDS is '$SEEDS'; each seed may stand there once"
[[ ${PER_CLASS:-1} =~ ^[1-9][0-9]*$ ]] || stop "PER_CLASS is '$PER_CLASS'; it must be a whole number above 0"
for model in ${EXTRA:-}; do
  [[ " kd_twice kd_perturbed kd_hidden " = *" $model "* ]] || stop "EXTRA has '$model'; it takes kd_twice, kd_perturbed, kd_hidden"
done

# located DATA SetFit/sst5: prints the value of DATA, or SetFit/sst5, quoted for eval. A relative path gets the
# user's folder in front if it exists there, else it may be a name of the Hub; ARTIFACTS always gets it.
located() {
  local value=${!1:-}
  if [ -z "$value" ]; then
    value=$2
  elif [[ $value != /* ]]; then
    if [ "$1" = ARTIFACTS ] || [ -e "$here/$value" ]; then value=$here/$value; fi
  fi
  printf %q "$value"
}

# --- The Python to use: this one where it has everything; Kaggle's, with what it lacks added; else .venv.
# (environment.py and, below, standins.py are in tests/, but the presets need them too.)

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
jobs=1  # stages at once: one for each of two GPUs; on a CPU two, each on half of the cores, which is faster
if [ "$gpus" -ge 2 ] || { [ "$gpus" = 0 ] && [ "$cores" -ge 2 ]; }; then jobs=2; fi
slot=  # LOCAL_RANK, 0 or 1, tells a stage its GPU (pick_device) and the line of its progress bar
if xargs --help 2>&1 | grep -q process-slot-var; then slot=--process-slot-var=LOCAL_RANK; fi
export TOKENIZERS_PARALLELISM=false
# glibc: keep freed memory instead of giving it back after every tensor; 10 to 20% of the time on a CPU
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592

stage() {  # stage "01_train.py --model bert ..."; eval, for the paths in it are quoted, as is $out below
  echo "--- $1"
  eval "$python $1 --artifacts $out"
}

together() {  # stages that do not need each other, a line each, two at a time
  if [ $jobs = 1 ]; then
    while read -r line; do stage "$line" < /dev/null; done <<< "$1"  # a stage must not read the list
    return
  fi
  if [ "$gpus" = 0 ]; then local -x OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(((cores + 1) / 2))}; fi
  # xargs gives each line to a shell of its own, as its $1.
  tr '\n' '\0' <<< "$1" | xargs -0 -n 1 -P $jobs $slot \
    bash -c 'echo "--- $1"; eval "exec $python $1 --artifacts $out"' _ || exit 2
}

# --- The presets

# The models of each seed. Slow ones stand first, so that of two processes none is idle at the end.
students="${EXTRA:-} kd_aligned kd_tinybert distilbert"
train_flags="" explain_flags="" probe_flags="" per_class=30
case $preset in
paper)  # every number is the scripts' default, which is the paper's
  out=$(located ARTIFACTS artifacts) data=$(located DATA SetFit/sst5)
  bert=$(located BERT bert-base-uncased) distilbert=$(located DISTILBERT distilbert-base-uncased)
  tinybert=$(located TINYBERT huawei-noah/TinyBERT_General_6L_768D)
  seeds=${SEEDS:-42 43 44}
  students="$students tinybert_ce"  # the control (A34)
  ;;
cpu)
  $python tests/standins.py cpu standins/cpu
  out=$(located ARTIFACTS "artifacts-cpu${DATA:+-$(basename "$DATA")}") data=$(located DATA standins/cpu/text)
  # Both students start from the teacher's layers 0, 2, 4, so they differ in their objective alone.
  bert=standins/cpu/MiniLM-L6 distilbert=standins/cpu/MiniLM-L3 tinybert=standins/cpu/MiniLM-L3
  seeds=${SEEDS:-42}
  # 2 epochs at 5e-5, the paper has at most 10 at 2e-5: this teacher's validation loss rises after two
  train_flags="--epochs 2 --learning-rate 5e-5 --group-by-length"
  explain_flags="--lime-samples 500"  # the paper has 5,000
  probe_flags="--adjectives 5"  # of each polarity: 50 sentences with "but", 50 with "and"; by default 12: 288, 288
  ;;
smoke)
  export OMP_NUM_THREADS=1 NUMBA_DISABLE_JIT=1  # too small for threads, and for a compiler to pay
  $python tests/standins.py smoke standins/smoke
  out=$(located ARTIFACTS artifacts-smoke) data=$(located DATA standins/smoke/text)
  bert=standins/smoke/random-bert distilbert=standins/smoke/random-distilbert
  tinybert=standins/smoke/random-tinybert
  seeds=${SEEDS:-42}
  train_flags="--epochs 6 --learning-rate 3e-3"
  explain_flags="--max-evals 100 --lime-samples 200" per_class=2  # 10 sentences
  probe_flags="--adjectives 2"
  ;;
esac
export python out
data="--data $data" subset="--per-class ${PER_CLASS:-$per_class}"

# --- The commands of one model and seed

seeds=($seeds)
first=${seeds[0]} count=${#seeds[@]}

train() {  # train kd_aligned 42
  local flags="--seed $2 $train_flags $data" distil="02_distill.py --model $1 --checkpoint $tinybert"
  case $1 in
    bert) echo "01_train.py --model bert --checkpoint $bert $flags" ;;
    distilbert) echo "01_train.py --model distilbert --checkpoint $distilbert $flags" ;;
    tinybert_ce) echo "01_train.py --model tinybert_ce --checkpoint $tinybert $flags" ;;
    kd_tinybert) echo "$distil $flags" ;;
    kd_aligned) echo "$distil --perturbed --hidden 3 $flags" ;;  # the weight was not tuned
    kd_perturbed) echo "$distil --perturbed $flags" ;;
    kd_twice) echo "$distil --perturbed 0 $flags" ;;  # control for compute: the copy is the sentence
    kd_hidden) echo "$distil --hidden 3 $flags" ;;
  esac
}

explain() {  # explain bert 42; with LIME, the slowest explainer, for the first seed alone
  local lime=
  if [ $2 = $first ]; then lime=lime; fi
  echo "03_explain.py --model $1 --seed $2 --methods shap ig $lime $explain_flags $subset $data"
}

probe() {  # probe bert 42
  echo "05_probes.py --model $1 --seed $2 $probe_flags $data"
}

each() {  # each train "bert distilbert" 42: the command for each of these models, a line each
  for model in $2; do $1 $model $3; done
}

# --- The run, seed by seed. BERT of a seed is trained with the models of the seed before it.

stage "03_explain.py $subset $data"  # draws the 150 sentences, and finds out now whether the text will do
stage "$(train bert $first)"
for i in ${!seeds[@]}; do
  seed=${seeds[i]} next=${seeds[i + 1]:-}
  if [ $count = 1 ]; then next=$((seed + 1)); fi
  together "$(if [ $next ]; then train bert $next; fi; each train "$students" $seed)"
  together "$(each explain "bert $students" $seed
    if [ $count = 1 ]; then explain bert $next; fi
    if [ $seed = $first ]; then  # SHAP with its other reference, LIME with another sampling seed
      echo "03_explain.py --model bert --seed $seed --methods shap_mask --of-each 6 $explain_flags $subset $data"
      echo "03_explain.py --model bert --seed $seed --methods lime_seed --of-each 6 $explain_flags $subset $data"
    fi)"
  together "$(each probe "bert $students" $seed)"
  # A first report, if there is none, and the last one. (After an interruption there may be half-explained
  # models of a later seed, which 04 refuses: they are completed first.)
  if [ $((i + 1)) = $count ] || ! eval "[ -e $out/report.md ]"; then
    stage "04_evaluate.py $data"
    stage "06_figures.py"
  fi
done
eval "echo the report: $out/report.md"
