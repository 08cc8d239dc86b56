#!/usr/bin/env bash
# srun slurm/rank.sh COMMAND...: tell one task its place among the others, as torchrun would.
set -euo pipefail

export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
if [ "$SLURM_NNODES" = 1 ]; then
  export MASTER_ADDR=127.0.0.1
else
  MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  export MASTER_ADDR
fi
# of its own for each job and start, and below the ports that systems give out
export MASTER_PORT=$((12000 + (SLURM_JOB_ID + 7919 * ${SLURM_RESTART_COUNT:-0}) % 18000))
# torch would take a thread for each CPU of the node
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$SLURM_CPUS_PER_TASK}
export STEMGRID_REQUEUE=1 # this command is what the job is for, so it may requeue it
exec "$@"
