#!/usr/bin/env bash
# Stop what start.sh started in $SLURM_LAB_DIR: jobs, daemons (by pid), lines in /etc/hosts.
# Logs stay in $SLURM_LAB_DIR/log until the next start.
set -uo pipefail
# shellcheck source=tests/slurm/lab.sh
. "$(dirname "${BASH_SOURCE[0]}")/lab.sh"
need_root

gone() { ! readlink "/proc/$1/exe"; } # a zombie counts as gone
queue_empty() { [ -z "$(squeue -h -o %A)" ]; }

end_all() { # program
  local pid
  for pid in $(ours "$1"); do
    kill "$pid" 2>/dev/null
    within 10 gone "$pid" || kill -KILL "$pid" 2>/dev/null
  done
}

cancel_jobs() {
  local jobs
  jobs=$(timeout 10 squeue -h -o %A | sort -u)
  [ -n "$jobs" ] || return 0
  # shellcheck disable=SC2086 # one word a job
  timeout 10 scancel $jobs
  within 20 queue_empty
}

end_orphans() { # job steps that outlived their controller, with the process groups they started
  local pid child
  for pid in $(ours slurmstepd); do
    while read -r child; do
      kill -KILL -- "-$child" "$child" 2>/dev/null
    done < <(tr ' ' '\n' <"/proc/$pid/task/$pid/children" | grep .)
    kill -KILL "$pid" 2>/dev/null
  done
}

clean_hosts() { # written in place, not renamed: containers mount this file
  grep -qF "$HOSTS_TAG" /etc/hosts || return 0
  local kept
  kept=$(grep -vF "$HOSTS_TAG" /etc/hosts; echo .)
  printf '%s' "${kept%.}" >/etc/hosts
}

[ -z "$(ours slurmctld)" ] || cancel_jobs
for part in slurmd slurmctld slurmdbd mariadbd munged; do
  end_all "$part"
done
end_orphans
clean_hosts
[ ! -e "$DIR/.slurm-lab" ] || rm -rf "${DIR:?}"/{mysql,state,spool.*,gpu,munge,env.sh}
echo "stop.sh: nothing runs in $DIR"
