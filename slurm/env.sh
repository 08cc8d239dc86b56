# shellcheck shell=bash
# Read by every wrapper: where the clone is, its environment, its logs. What the caller's
# environment sets wins. Partition, account, time and GPUs are sbatch's own business: export
# SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT, SBATCH_GPUS, or give its options.

STEMGRID_HOME=${STEMGRID_HOME:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export STEMGRID_CALLER=$PWD # what relative file names of the caller are meant from
export STEMGRID_REPO=${STEMGRID_REPO:-$STEMGRID_HOME/release_models}
export PATH=$STEMGRID_HOME/.venv/bin:$PATH
export DORA_PACKAGE=mss
cd "$STEMGRID_HOME" || exit 1
