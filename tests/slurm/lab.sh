# shellcheck shell=bash
# shellcheck disable=SC2034 # start.sh and stop.sh use these
# What start.sh and stop.sh share: the lab's folder, and which processes are its own.

DIR=${SLURM_LAB_DIR:-/run/stemgrid-slurm-lab}
PARTS=(munged mariadbd slurmdbd slurmctld slurmd)
export SLURM_CONF=$DIR/etc/slurm.conf
PATH=$PATH:/usr/sbin

# Every daemon has this in its environment: a pid file may be stale and its number another's by now.
export SLURM_LAB_OWNER=$DIR
HOSTS_TAG="# slurm-lab:$DIR:"

say() { echo "${0##*/}: $*" >&2; }

ours() { # program -> the pids of the lab's own processes of that name
  local entry name
  for entry in /proc/[0-9]*; do
    { read -r name <"$entry/comm"; } 2>/dev/null || continue
    if [ "$name" = "$1" ] &&
      tr '\0' '\n' 2>/dev/null <"$entry/environ" | grep -qxF "SLURM_LAB_OWNER=$DIR"; then
      echo "${entry#/proc/}"
    fi
  done
}

within() { # seconds command... -> whether the command succeeded in time; $waited is what it said
  local end=$((SECONDS + $1))
  shift
  until waited=$("$@" 2>&1); do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

need_root() {
  [ "$(id -u)" = 0 ] || {
    say "must be root: slurmd and /etc/hosts need it"
    exit 1
  }
}
