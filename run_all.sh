#!/usr/bin/env bash
# The six stages, one after another.   bash run_all.sh [paper|cpu|base|smoke|test]
#
#   paper   the paper's models and SST-5, from the Hub; for a T4 (the default where CUDA is available)
#   cpu     a small real BERT and rated movie snippets, from the Python package index; for two CPU
#           cores (the default elsewhere)
#   base    models of the paper's sizes and the same snippets, from the package index; for a GPU without
#           the Hub; on two CPU cores six hours a seed
#   smoke   random models and template sentences; no network, one to three minutes
#   test    sets up and runs the tests
#
# Settings, as environment variables. A relative path counts from the folder that you are in.
#   SEEDS="42 43 44"  train every model once for each of these seeds (default: these for paper, else 42). BERT
#                     of each seed is compared with BERT of seed + 1, so BERT is trained with 45 too
#   DATA=DIR          other text: a folder with train, validation (or dev) and test .jsonl of text and label,
#                     or a data set of the Hub, such as SetFit/sst5
#   PER_CLASS=30      test sentences of each class to explain
#   SUBSET_SEED=42    draws them: another whole number above 0 draws others
#   EXTRA="..."       further students to train and explain: kd_soft, from soft logits alone (A6); kd_twice,
#                     kd_perturbed, kd_hidden, the ablations of KD-aligned; students of fewer layers,
#                     kd_4layer (paper, base), kd_2layer (base, cpu), kd_1layer (cpu, smoke), or
#                     kd_4layer_perturbed and so on, which learn from perturbed copies too
#   LIME=no           without LIME, the slowest explainer (default: yes, but no for base on a CPU)
#   ARTIFACTS=DIR     where everything is written (default: artifacts for paper, else
#                     artifacts-<preset>, with DATA artifacts-<preset>-<name of its folder>)
#   BERT=DIR DISTILBERT=DIR TINYBERT=DIR TINYBERT_4L=DIR   paper: folders in place of the Hub's models
#   JOBS=4            stages at once (default: one for each GPU; on a CPU two, each on half of the cores)
#   LAUNCH="srun -N1 --gpus=1"   put before every stage, which runs elsewhere: the machines share this folder
#   TORCH_INDEX=URL   for tests/environment.py, which installs: an index with CPU builds of torch
# Finished models and explained sentences are kept: after an interruption, run the same command to resume.
# One artifacts folder is one run. To make something in it again (a model, an explanation), delete that, not
# the folder, and run the same command.
# sh run_all.sh and source run_all.sh end here and start bash. (return 0) succeeds only in a sourced file.
if [ -z "${BASH_VERSION:-}" ] || (return 0) 2> /dev/null; then bash "${BASH_SOURCE:-$0}" "$@"; return; fi
# What notebooks, conda and clusters export, and what would mislead cd, Python, a stage or pip.
unset CDPATH MPLBACKEND PYTHONSAFEPATH PYTHONHOME PYTHONOPTIMIZE LOCAL_RANK PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT
unset OMP_PROC_BIND OMP_PLACES GOMP_CPU_AFFINITY KMP_AFFINITY KMP_HW_SUBSET  # two stages would share one core
set -feuo pipefail  # f: a * in a setting stands for itself
here=$PWD
cd "$(dirname "$(readlink -f "$BASH_SOURCE")")"

stop() { echo "error: $*" >&2; exit 2; }

# --- The words and settings, checked before anything long begins

preset=${1:-}
case $* in
  ""|paper|cpu|base|smoke|test) ;;
  *) stop "no preset '$*'; it is one of paper, cpu, base, smoke, test. Settings stand in front: DATA=DIR bash run_all.sh cpu" ;;
esac
number='[1-9][0-9]{0,8}'
for setting in SEEDS EXTRA PER_CLASS SUBSET_SEED JOBS LIME; do
  set -- ${!setting:-}  # its words, whatever stands between them
  case $setting in
    SEEDS) form="$number( $number)*" needed="whole numbers above 0, without leading zeros" ;;
    EXTRA) form=".*" ;;  # its words are checked where the preset is known
    LIME) form="yes|no" needed="yes or no" ;;
    *) form=$number needed="a whole number above 0, without a leading zero" ;;
  esac
  [[ $* =~ ^($form)?$ ]] || stop "$setting is '$*'; it must be $needed"
  [ -z "$(printf '%s\n' "$@" | sort | uniq -d)" ] || stop "$setting is '$*'; each word may stand there once"
  printf -v $setting %s "$*"
done
SEEDS=$(echo $(printf '%s\n' $SEEDS | sort -n))  # the examples of the report are those of the smallest

# Paths, as seen from the user's folder. What is not there and does not look like a path is left as it is: it
# may be a name of the Hub.
for setting in DATA ARTIFACTS BERT DISTILBERT TINYBERT TINYBERT_4L; do
  path=${!setting:-}
  case $path in
    "~/"*) path=~/${path:2} ;;
    [\"\'~]*) stop "$setting: $path begins with a quote or ~, as a notebook's %env keeps it: write the folder in full" ;;
  esac
  if [[ $path = [!/]* && ($setting = ARTIFACTS || -e $here/$path) ]]; then path=$here/$path; fi
  [[ $path != [/.]* || $setting = ARTIFACTS || -d $path ]] || stop "$setting: $path is not a folder"
  printf -v $setting %s "$path"
done

# --- The Python to use: this one where it has everything; Kaggle's, with what it lacks added; else .venv

# tests/environment.py prints what a Python lacks for the preset, a requirement a line; with "install" it installs
# that; with "gpus" it imports the packages and counts the GPUs. Where it cannot go on, it says why and ends with 2.
exec 8< .  # if two runs install at once, the second waits here for the first
flock 8 2> /dev/null || true
python=python3
lacking=$($python tests/environment.py $preset 2> /dev/null) || lacking=everything
if [ -n "$lacking" ] && [ ! -d /kaggle ]; then
  python=.venv/bin/python
  if ! $python -c "" 2> /dev/null; then  # there is none, or it does not start
    python3 tests/environment.py > /dev/null || exit 2  # says so if this Python is too old
    [ ! -e .venv ] || mv -v .venv .venv-$(date +%s)  # it may start again, or elsewhere
    echo "set-up: making .venv, a few minutes"
    python3 -m venv .venv || exit 2
  fi
  lacking=$($python tests/environment.py $preset) || exit 2
fi
if [ -n "$lacking" ]; then
  echo "set-up: installing" $lacking
  $python tests/environment.py install $preset || exit 2
  lacking=$($python tests/environment.py $preset)
  [ -z "$lacking" ] || stop "pip saw no error, see its settings with 'pip config list': $python still lacks" $lacking
fi
exec 8<&-
gpus=$($python tests/environment.py gpus) || exit 2
[ "$preset" != test ] || exec $python -m pytest -q tests

# --- Where and how the stages run

cores=$(getconf _NPROCESSORS_ONLN)
if [ "$gpus" = 0 ]; then preset=${preset:-cpu} jobs=$((cores < 2 ? 1 : 2)); else preset=${preset:-paper} jobs=$gpus; fi
jobs=${JOBS:-$jobs}  # stages at once
# Where xargs can, it sets LOCAL_RANK to 0, 1, ...: a stage's GPU (pick_device) and line of its progress bar.
rank=
if [ -z "${LAUNCH:-}" ] && xargs --help 2>&1 | grep -q process-slot-var; then rank=--process-slot-var=LOCAL_RANK; fi
export TOKENIZERS_PARALLELISM=false
# glibc: keep freed memory instead of giving it back after every tensor, which takes time on a CPU
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592

queue=() begun=0 total=0  # shell commands; how many have begun, of how many
stage() {  # stage 01_train.py --model bert ...: adds a command to the queue, quoted for a shell
  queue+=("${LAUNCH:+$LAUNCH }$(printf '%q ' "$python" "$@" --artifacts "$out")")
}
run_queue() {  # runs the commands of the queue, $jobs at a time; on a CPU they share the cores
  local at_once=$((${#queue[@]} < jobs ? ${#queue[@]} : jobs)) numbered=() command
  for command in "${queue[@]}"; do numbered+=("$((++begun)) of $total" "$command"); done
  queue=()
  if [ "$counting" = yes ]; then return; fi
  if [ "$gpus" = 0 ] && [ -z "${LAUNCH:-}" ]; then local -x OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(((cores + at_once - 1) / at_once))}; fi
  # A stage that fails, or an echo that nobody reads (| head), ends with 255: xargs then starts no further one,
  # and waits for those that run.
  printf '%s\0' "${numbered[@]}" | xargs -0 -n 2 -P "$jobs" $rank bash -c 'trap "" PIPE; echo "--- $1: $2" && eval "$2" || exit 255' _ ||
    stop "a stage failed, see its error above; what is finished is kept, and the same command goes on from there"
}

# --- The presets

# The models of each seed, beside BERT. Those of 02, which are slow, stand first, so that of two processes none
# is idle at the end.
students="${EXTRA:-} kd_aligned kd_tinybert distilbert"
train_flags="" explain_flags="" probe_flags="" per_class=30 lime=yes seeds=${SEEDS:-42}
made=standins/$preset data=standins/$preset/text out=artifacts-$preset${DATA:+-$(basename "$DATA")}
# shallow: checkpoints of fewer layers, by their number of layers, for the students kd_4layer and so on
case $preset in
paper)  # every number is the scripts' default: the paper's, or an assumption of the README
  out=artifacts data=SetFit/sst5
  bert=${BERT:-bert-base-uncased}
  distilbert=${DISTILBERT:-distilbert-base-uncased}
  tinybert=${TINYBERT:-huawei-noah/TinyBERT_General_6L_768D}
  shallow=([4]="${TINYBERT_4L:-huawei-noah/TinyBERT_General_4L_312D}")
  takes="40 minutes on a T4 (estimated)"
  seeds=${SEEDS:-42 43 44}
  students="$students tinybert_ce"  # the control (A34)
  ;;
cpu)
  takes="40 to 55 minutes on two cores"
  # Students of three layers start from the teacher's layers 0, 2, 4, and so differ in their objective alone.
  bert=$made/MiniLM-L6 distilbert=$made/MiniLM-L3 tinybert=$made/MiniLM-L3
  shallow=([2]=$made/MiniLM-L2 [1]=$made/MiniLM-L1)
  # 2 epochs at 5e-5, the paper has at most 10 at 2e-5: this teacher's validation loss rises after two
  train_flags="--epochs 2 --learning-rate 5e-5 --group-by-length"
  explain_flags="--lime-samples 500"  # the paper has 5,000
  probe_flags="--adjectives 5"  # 5 x 5 pairs in both orders: 50 sentences with "but", 50 with "and"; the default is 12
  ;;
base)
  takes="a time on a GPU that is not measured yet"
  # Students of six layers start from the teacher's layers 0, 2, ..., 10.
  bert=$made/MPNet-L12 distilbert=$made/MPNet-L6 tinybert=$made/MPNet-L6
  shallow=([4]=$made/MPNet-L4 [2]=$made/MPNet-L2)
  train_flags="--group-by-length"
  if [ "$gpus" = 0 ]; then
    takes="six hours on two cores, without LIME unless LIME=yes is set"
    # The paper has at most 10. On SST-5 the validation loss of both BERTs and of DistilBERT was lowest after two.
    train_flags+=" --epochs 3"
    lime=no probe_flags="--adjectives 5"  # as for cpu
  fi
  ;;
smoke)
  takes="two minutes"
  export OMP_NUM_THREADS=1 NUMBA_DISABLE_JIT=1  # too small for threads, and for a compiler to pay
  bert=$made/random-bert distilbert=$made/random-distilbert tinybert=$made/random-tinybert
  shallow=([1]=$made/random-tinybert)
  train_flags="--epochs 6 --learning-rate 3e-3"
  explain_flags="--max-evals 100 --lime-samples 200" per_class=2  # 10 sentences
  probe_flags="--adjectives 2"
  ;;
esac
echo "preset $preset, GPUs: $gpus. A seed takes about $takes; what is finished already is skipped"
extras="kd_soft kd_twice kd_perturbed kd_hidden"
for depth in "${!shallow[@]}"; do extras+=" kd_${depth}layer kd_${depth}layer_perturbed"; done
for model in ${EXTRA:-}; do
  [[ " $extras " = *" $model "* ]] || stop "EXTRA has '$model'; $preset takes $extras"
done
lime_method=lime lime_variant=lime_resampled
if [ "${LIME:-$lime}" = no ]; then lime_method="" lime_variant=""; fi
subset="--per-class ${PER_CLASS:-$per_class}${SUBSET_SEED:+ --subset-seed $SUBSET_SEED}"
data=${DATA:-$data} out=${ARTIFACTS:-$out}
if [ "$preset" != paper ]; then $python tests/standins.py "$preset" "$made" >&2; fi
mkdir -p "$out" || exit 2
exec 9< "$out"  # held by the stages too, should they outlive this shell
flock -n 9 2> /dev/null || [ $? != 1 ] || stop "another run works in $out"  # 1: held; else flock does not work here
touch "$out/.started"

# --- The commands of one model and seed

train() {  # train kd_aligned 42
  local model=$1 seed=$2 script=02_distill.py checkpoint=$tinybert how="" layers=${1//[^0-9]/}
  case $model in
    bert) script=01_train.py checkpoint=$bert ;;
    distilbert) script=01_train.py checkpoint=$distilbert ;;
    tinybert_ce) script=01_train.py ;;
    kd_tinybert) ;;  # the paper's student: 02's defaults
    kd_soft) how="--alpha 0 --beta 1" ;;
    kd_aligned) how="--perturb-rate 1 --hidden-weight 3" ;;  # the weight was not tuned
    kd_hidden) how="--hidden-weight 3" ;;
    kd_perturbed) how="--perturb-rate 1" ;;
    kd_twice) how="--perturb-rate 0" ;;  # control for compute: the copy is the sentence
    kd_?layer) checkpoint=${shallow[$layers]} ;;
    kd_?layer_perturbed) checkpoint=${shallow[$layers]} how="--perturb-rate 1" ;;
  esac
  stage $script --checkpoint "$checkpoint" $how --model $model --seed $seed $train_flags --data "$data"
}

explain() {  # explain bert 42 shap ig; further flags may follow
  local model=$1 seed=$2; shift 2
  stage 03_explain.py --model $model --seed $seed --methods "$@" $explain_flags $subset --data "$data"
}

measure() { stage 04_evaluate.py --model $1 --seed $2 --data "$data"; }  # measure bert 42

probe() { stage 05_probes.py --model $1 --seed $2 $probe_flags --data "$data"; }  # probe bert 42

each() {  # each "42 43" "bert distilbert" explain shap ig: the command of every model and seed
  local seeds=$1 models=$2 model seed; shift 2
  for model in $models; do for seed in $seeds; do "$1" $model $seed "${@:2}"; done; done
}

seeds_after() {  # seeds_after "42 43" prints 44: the seeds + 1 that are not among them
  for seed in $1; do [[ " $1 " = *" $((seed + 1)) "* ]] || echo $((seed + 1)); done
}

# --- The run: the first seed and its report, then the other seeds together. What takes longest begins first.

run_seeds() {  # run_seeds "43 44" shap ig: all of these seeds, by these explainers
  local seeds=$1 next=$(seeds_after "$1"); shift
  each "$seeds $next" bert train; run_queue
  each "$seeds" "$students" train; run_queue
  each "$seeds" bert explain "$@"
  each "$next" bert explain shap ig
  each "$seeds" "$students" explain "$@"
}

report() {  # report "42 43": measures these seeds, and reports on all that is measured
  each "$1" "bert $students" probe
  each "$1 $(seeds_after "$1")" bert measure
  each "$1" "$students" measure; run_queue
  stage 06_figures.py; run_queue
}

everything() {
  local first others
  stage 03_explain.py $subset --data "$data"; run_queue  # draws the sentences, and finds out now whether the text will do
  read -r first others <<< "$seeds"
  run_seeds $first shap ig $lime_method  # LIME, the slowest, for the first seed alone
  # SHAP with its other reference, LIME with another sampling seed
  explain bert $first shap_mask $lime_variant --first-per-class 6; run_queue
  report $first
  if [ -n "$others" ]; then
    run_seeds "$others" shap ig; run_queue
    report "$seeds"
  fi
}

counting=yes; everything; total=$begun begun=0
counting=no; everything
[ "$out/report.md" -nt "$out/.started" ] || stop "no stage has written $out/report.md, see the output above; LAUNCH has to wait for the end of a stage"
echo "the report: $out/report.md"
