#!/usr/bin/env bash
# Train a run as job arrays of Slurm without tfgmm[slurm]. Set what follows; all else is options of tfgmm train.
#   RUN=runs/kanto CHUNKS=5 INITS=2 bash slurm-array.sh --networks kik,meso --data data/kanto
# Given again after the jobs have ended, it does only what is missing.
set -euo pipefail
run=${RUN:?the run folder} chunks=${CHUNKS:-5} inits=${INITS:-2}
tfgmm train --out "$run" --chunks "$chunks" --inits "$inits" --begin "$@"
arm=${ARM:-all}   # as the line above has printed it
export RUN=$run ARM=$arm INITS=$inits
# The same number of threads gives the same weights.
export OMP_NUM_THREADS=${CPUS:-4} TF_NUM_INTRAOP_THREADS=${CPUS:-4} TF_NUM_INTEROP_THREADS=${CPUS:-4}
options=(--parsable --export=ALL --cpus-per-task="${CPUS:-4}" --time="${TIME:-04:00:00}" --requeue ${SBATCH_OPTIONS:-})

prepared=$(sbatch "${options[@]}" --array=0-$((chunks - 1)) --wrap 'tfgmm stage prepare "$RUN" "$SLURM_ARRAY_TASK_ID"')
members=$(sbatch "${options[@]}" --array=0-$((chunks * inits - 1)) --dependency=afterok:"$prepared" --wrap \
  'tfgmm stage member "$RUN" "$ARM" $((SLURM_ARRAY_TASK_ID / INITS)) $((SLURM_ARRAY_TASK_ID % INITS))')
finished=$(sbatch "${options[@]}" --dependency=afterok:"$members" --wrap 'tfgmm stage finish "$RUN"')
echo "Jobs: prepare $prepared, members $members, finish $finished"
