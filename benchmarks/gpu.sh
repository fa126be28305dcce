#!/usr/bin/env bash
# Everything that only a machine with a CUDA card can say, in calls of at most ten minutes and without a network:
#
#     benchmarks/gpu.sh [FOLDER for the results, results/benchmarks/gpu] [seconds a call may take, 570]
#
# The same command again goes on with what is not done; "all stages are done" ends it. PYTHON names the interpreter,
# PEERS a folder with a clone of https://github.com/iShohei220/torch-gqn to measure beside ours, ONLY a single stage.
# Every stage is a process of its own and leaves FOLDER/<stage>.csv; what failed leaves FOLDER/<stage>.log and is tried
# once again by the next call.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-results/benchmarks/gpu}
deadline=$((SECONDS + ${2:-570}))
python=${PYTHON:-.venv/bin/python}
export MUJOCO_GL=${MUJOCO_GL:-egl} PYTHONPATH=$PWD PYTHONUNBUFFERED=1
mkdir -p "$out"

open=0
for stage in ${ONLY:-$("$python" -m benchmarks.gpu stages)}; do
    [ -e "$out/$stage.csv" ] && continue
    if [ -e "$out/$stage.failed" ]; then echo "$stage: failed twice, see $out/$stage.log"; continue; fi
    left=$((deadline - SECONDS))
    if [ "$left" -lt 30 ]; then open=1; break; fi
    echo "== $stage ($left s left)"
    if ! timeout "$left" "$python" -m benchmarks.gpu "$stage" "out=$out" ${PEERS:+"peers=$PEERS"} 2>&1 | tee "$out/$stage.log"; then
        open=1
        if [ -e "$out/$stage.tried" ]; then mv "$out/$stage.tried" "$out/$stage.failed"; else touch "$out/$stage.tried"; fi
    fi
done
if [ "$open" = 1 ]; then echo "give the same command again"; exit 1; fi
echo "all stages are done: $out"
