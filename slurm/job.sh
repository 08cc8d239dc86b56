# shellcheck shell=bash
# What the wrappers share: the clone and its environment, one folder of logs, the job's tasks.

STEMGRID_HOME=$(cd "${STEMGRID_HOME:-$(dirname "${BASH_SOURCE[0]}")/..}" && pwd)
# shellcheck source=slurm/env.sh
. "$STEMGRID_HOME/slurm/env.sh"
STEMGRID_LOGS=${STEMGRID_LOGS:-$STEMGRID_HOME/logs}
export STEMGRID_REPO=${STEMGRID_REPO:-$STEMGRID_HOME/release_models}
export PATH=$STEMGRID_HOME/.venv/bin:$PATH
export DORA_PACKAGE=mss PYTHONUNBUFFERED=1
# shellcheck disable=SC2034 # what file names that the caller gave are relative to
CALLER=$PWD
cd "$STEMGRID_HOME" || exit

# sbatch can't be told of a folder of logs that depends on the clone: it opens stemgrid-JOB.out where
# the caller stands. What fails before this point stays to be seen there; the rest goes to the logs,
# which a requeued job goes on with. Another --output is left alone.
opened=$(readlink "/proc/$$/fd/1" || true)
if [[ $opened == */stemgrid-"${SLURM_JOB_ID:-}".out ]]; then
  mkdir -p "$STEMGRID_LOGS"
  exec >>"$STEMGRID_LOGS/${SLURM_JOB_NAME//\//-}-$SLURM_JOB_ID.log" 2>&1
  cat "$opened"
  rm -f "$opened"
  echo "$(date '+%F %T') job $SLURM_JOB_ID, start $((${SLURM_RESTART_COUNT:-0} + 1)) on $SLURM_JOB_NODELIST"
fi

# launch COMMAND...: as the tasks of this job, since signals of SLURM go to tasks, not to the script;
# without a job, or inside of one of its steps, as it is.
launch() {
  if [ -z "${SLURM_JOB_ID:-}" ] || [ -n "${SLURM_STEP_ID:-}" ]; then
    exec "$@"
  fi
  # srun doesn't take this over from sbatch (since SLURM 22.05)
  [ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
  exec srun --kill-on-bad-exit=1 bash slurm/rank.sh "$@"
}
