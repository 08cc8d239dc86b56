#!/usr/bin/env bash
#SBATCH --job-name=stemgrid-continue
#SBATCH --output=stemgrid-%j.out
#SBATCH --open-mode=append
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --requeue
#SBATCH --signal=USR2@120
# sbatch [--ntasks=N] slurm/continue.sh SIG: go on with a run where its checkpoint stands.
set -euo pipefail
# sbatch runs a copy from its spool; the job knows where the original lies
home=${STEMGRID_HOME:-$(dirname "$0")/..}
if [ ! -f "$home/slurm/job.sh" ] && [ -n "${SLURM_JOB_ID:-}" ]; then
  job=$(scontrol show job "$SLURM_JOB_ID")
  job=${job#*Command=}
  home=${job%%/slurm/continue.sh*}
fi
[ -f "$home/slurm/job.sh" ] || { echo "where is the clone? export STEMGRID_HOME" >&2; exit 1; }
# shellcheck source=slurm/job.sh
. "$home/slurm/job.sh"

launch dora run -f "${1:?give the signature of a run}"
