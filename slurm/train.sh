#!/usr/bin/env bash
#SBATCH --job-name=stemgrid-train
#SBATCH --output=stemgrid-train-%j.log
# sbatch slurm/train.sh [EPOCHS] [overrides...]: train one configuration.
set -euo pipefail
# sbatch runs a copy from its spool: the job knows where the original lies
script=$0
if [ -n "${SLURM_JOB_ID:-}" ]; then
  script=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')
fi
# shellcheck source=slurm/env.sh
. "$(dirname "$script")/env.sh"

if [[ "${1:-}" =~ ^[0-9]+$ ]]; then
  set -- "train.epochs=$1" "${@:2}"
fi
exec dora run "$@"
