#!/usr/bin/env bash
#SBATCH --job-name=stemgrid-release
#SBATCH --output=stemgrid-release-%j.log
# sbatch slurm/release.sh SIG: export the best model of a run.
set -euo pipefail
# sbatch runs a copy from its spool: the job knows where the original lies
script=$0
if [ -n "${SLURM_JOB_ID:-}" ]; then
  script=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')
fi
# shellcheck source=slurm/env.sh
. "$(dirname "$script")/env.sh"

exec python -m tools.export "${1:?give the signature of a run}" -o "$STEMGRID_REPO"
