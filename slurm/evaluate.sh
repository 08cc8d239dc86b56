#!/usr/bin/env bash
#SBATCH --job-name=stemgrid-evaluate
#SBATCH --output=stemgrid-evaluate-%j.log
# sbatch slurm/evaluate.sh NAME [overrides...]: score a released model.
set -euo pipefail
# sbatch runs a copy from its spool: the job knows where the original lies
script=$0
if [ -n "${SLURM_JOB_ID:-}" ]; then
  script=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')
fi
# shellcheck source=slurm/env.sh
. "$(dirname "$script")/env.sh"

exec python -m tools.test_pretrained -n "${1:?give the name of a released model}" "${@:2}"
