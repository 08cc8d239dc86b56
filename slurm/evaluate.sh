#!/usr/bin/env bash
#SBATCH --job-name=stemgrid-evaluate
#SBATCH --output=stemgrid-%j.out
#SBATCH --open-mode=append
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
# sbatch slurm/evaluate.sh NAME [overrides...]: score a released model.
set -euo pipefail
# sbatch runs a copy from its spool; the job knows what was submitted, and from where
here=${STEMGRID_HOME:+$STEMGRID_HOME/slurm}
here=${here:-$(dirname "$0")}
if [ ! -f "$here/job.sh" ] && [ -n "${SLURM_JOB_ID:-}" ]; then
  here=$(scontrol show job "$SLURM_JOB_ID")
  here=${here#*Command=}
  here=${here%%evaluate.sh*}
  [[ $here == /* ]] || here=$SLURM_SUBMIT_DIR/$here
fi
[ -f "$here/job.sh" ] || { echo "where is the clone? export STEMGRID_HOME" >&2; exit 1; }
# shellcheck source=slurm/job.sh
. "$here/job.sh"

launch python -m tools.test_pretrained -n "${1:?give the name of a released model}" "${@:2}"
