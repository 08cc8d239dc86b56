#!/usr/bin/env bash
#SBATCH --job-name=stemgrid-separate
#SBATCH --output=stemgrid-separate-%j.log
# sbatch slurm/separate.sh FILE NAME: separate a recording with a released model.
set -euo pipefail
# sbatch runs a copy from its spool: the job knows where the original lies
script=$0
if [ -n "${SLURM_JOB_ID:-}" ]; then
  script=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')
fi
# shellcheck source=slurm/env.sh
. "$(dirname "$script")/env.sh"

file=${1:?give a file}
case $file in /*) ;; *) file=$STEMGRID_CALLER/$file ;; esac
exec stemgrid separate "$file" -n "${2:?give the name of a released model}" \
  -o "$STEMGRID_CALLER/separated"
