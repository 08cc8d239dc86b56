# shellcheck shell=bash
# Where this site runs its jobs. sbatch asks for partition, account, GPUs and time before it runs a
# script, so read this in the shell that submits (once, or in ~/.bashrc):
#
#   . slurm/env.sh
#
# The values come from slurm/site.sh beside this file, which is yours and not in git, such as
#
#   : "${STEMGRID_PARTITION:=gpu}" "${STEMGRID_ACCOUNT:=music}"     # the presets of grids, too
#   : "${STEMGRID_GPUS:=1}" "${STEMGRID_TIME:=1-00:00:00}"          # the wrappers alone
#   : "${STEMGRID_LOGS:=$HOME/logs}"
#   module load cuda
#
# where := leaves what the environment sets; options of sbatch win over both. Without any of them a
# job asks for no GPU and takes the cluster's default partition, account and time.

_site=$(dirname "${BASH_SOURCE[0]:-$0}")/site.sh
# shellcheck source=/dev/null
[ ! -f "$_site" ] || . "$_site"
unset _site

[ -z "${STEMGRID_PARTITION:-}" ] || export STEMGRID_PARTITION SBATCH_PARTITION="$STEMGRID_PARTITION"
[ -z "${STEMGRID_ACCOUNT:-}" ] || export STEMGRID_ACCOUNT SBATCH_ACCOUNT="$STEMGRID_ACCOUNT"
[ -z "${STEMGRID_GPUS:-}" ] || export SBATCH_GPUS="$STEMGRID_GPUS"
[ -z "${STEMGRID_TIME:-}" ] || export SBATCH_TIMELIMIT="$STEMGRID_TIME"
