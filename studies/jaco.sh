#!/usr/bin/env bash
# The comparison of Fig. 5: every run, figure and table of results/agents and results/figures for Jaco.
#
#     studies/jaco.sh                  everything, one run after the other
#     studies/jaco.sh gqn pixels       these parts alone; parts may run side by side, one a core
#
# A finished run is passed over and an interrupted one goes on, so the same line may be given again and again.
# RUNS is the folder for the runs, SEEDS the seeds: SEEDS=0,1 studies/jaco.sh gqn
set -euo pipefail

runs=${RUNS:-runs/jaco_study}
seeds=${SEEDS:-0,1,2,3,4}
python=${PYTHON:-python}

# multirun <folder> <arguments of train_agent>: one run for each combination of the values between commas
multirun() {
  local folder=$1
  shift
  "$python" -m gqn_rl.train_agent -m env=jaco gif=false "seed=$seeds" "$@" \
    "run_dir=$runs/$folder/\${repr.name}_\${camera.name}_\${agent.name}_seed\${seed}$variant"
}

# The agents of these results: pixels read by Stable-Baselines3's default network, and of the untrained encoder the two
# directions that its filter left it. `python -m gqn_rl.study study=jaco` is the comparison with stronger ones.
pixels="repr=pixels_sb3 repr.name=pixels"
untrained="repr=random_encoder repr.entries=2 encoder=jaco"

# What each representation is worth to PPO under each camera, and from the other cameras without training.
ppo="workers=0 threads=1"
oracle() { multirun main repr=oracle $ppo; }
gqn() { multirun main repr=gqn camera=moving,fixed,heldout 'transfer=[fixed,moving,heldout]' $ppo; }
pixels() { multirun main $pixels camera=moving,fixed,heldout 'transfer=[fixed,moving,heldout]' $ppo; }
random_encoder() { multirun main $untrained camera=moving,fixed,heldout $ppo; }

# The paper's agent, on the moving camera; three seeds.
a3c() {
  seeds=${SEEDS:-0,1,2} multirun main agent=a3c repr=oracle,gqn camera=moving
  seeds=${SEEDS:-0,1,2} multirun main agent=a3c $pixels camera=moving
}

# The same hyper-parameters for r and pixels: the thin lines of Fig. 5.
grid() {
  for rate in 2e-4 5e-4 1e-3; do
    for entropy in 1e-3 1e-2; do
      [ "$rate $entropy" != "5e-4 1e-3" ] || continue # which are those of the main runs
      for seen in repr=gqn "$pixels"; do
        seeds=0 variant="_lr${rate}_entropy${entropy}" multirun grid $seen camera=moving \
          "agent.settings.learning_rate=$rate" "agent.settings.ent_coef=$entropy" $ppo
      done
    done
  done
  # Do pixels need smaller steps to learn from A3C's small updates?
  seeds=0 variant=_lr3e-4 multirun grid agent=a3c $pixels camera=moving agent.settings.learning_rate=3e-4
}

# Does r gain from the last four views, from what the arm feels, or from learning on, and who can do without the room
# always looking the same?
extras() {
  multirun extras repr=gqn_window,gqn_joints camera=moving $ppo
  multirun extras repr=pixels_sb3 repr.name=pixels_joints 'repr.proprioception=[sin_,cos_]' camera=moving $ppo
  seeds=0 multirun extras repr=gqn_finetuned camera=moving agent.settings.n_epochs=3 $ppo
  multirun looks repr=gqn,oracle camera=moving 'task={looks: random}' $ppo
  multirun looks $pixels camera=moving 'task={looks: random}' $ppo
}

# keep <folder> <where>: of each run what plot and the README need
keep() {
  local run file
  for run in "$runs/$1"/*/; do
    [ -f "$run/eval.csv" ] || continue
    mkdir -p "results/$2/$(basename "$run")"
    for file in run.json eval.csv transfer.csv; do
      [ ! -f "$run$file" ] || cp "$run$file" "results/$2/$(basename "$run")/"
    done
  done
}

# plot <folder> <arguments of plot>: figures and tables, of runs that there are
plot() {
  [ ! -d "results/$1" ] || "$python" -m gqn_rl.plot "${@:2}"
}

# results/, its figures and tables; the grid stands behind the main curves, and these behind all others.
collect() {
  keep main agents
  plot agents runs=results/agents out=results/figures
  keep grid grid
  plot grid 'runs="results/agents/*_moving_*"' behind=results/grid out=results/figures/grid
  for folder in extras looks; do
    keep "$folder" "$folder"
    plot "$folder" "runs=results/$folder" behind=results/agents "out=results/figures/$folder"
  done
}

variant=
for part in ${*:-oracle gqn pixels random_encoder a3c grid extras collect}; do
  "$part"
done
