#!/usr/bin/env bash
#SBATCH --job-name=stemgrid-continue
#SBATCH --output=stemgrid-continue-%j.log
# sbatch slurm/continue.sh SIG: go on with a run where its checkpoint stands.
set -euo pipefail
# sbatch runs a copy from its spool: the job knows where the original lies
script=$0
if [ -n "${SLURM_JOB_ID:-}" ]; then
  script=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')
fi
# shellcheck source=slurm/env.sh
. "$(dirname "$script")/env.sh"

exec dora run -f "${1:?give the signature of a run}"
