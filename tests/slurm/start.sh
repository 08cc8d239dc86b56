#!/usr/bin/env bash
# Start a real SLURM on this machine alone: munged, mariadbd, slurmdbd, slurmctld, and a slurmd for
# each virtual node, which claims CPUs, memory and GPUs that need not be there.
#
# Needs root and what install.sh installs. All it writes is under $SLURM_LAB_DIR, but for a line a
# node in /etc/hosts, which stop.sh takes out. Once it is up: . $SLURM_LAB_DIR/env.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/slurm/lab.sh
. "$here/lab.sh"

nodes=${SLURM_LAB_NODES:-2}
gpus=${SLURM_LAB_GPUS:-8}            # a node
cpus=${SLURM_LAB_CPUS:-80}           # a node
mem_mb=${SLURM_LAB_MEM_MB:-512000}   # a node
port=${SLURM_LAB_PORT:-31810}        # +0 slurmctld, +1 slurmdbd, +2 mariadbd, +10... slurmd
requeue_delay=${SLURM_LAB_REQUEUE_DELAY:-5}
kill_wait=${SLURM_LAB_KILL_WAIT:-10}
host=$(hostname -s)

fail() {
  tail -n 15 "$DIR"/log/* >&2
  say "$1: ${waited:-see above}"
  "$here/stop.sh"
  exit 1
}

up() { # every daemon runs, and the controller answers
  local part
  for part in "${PARTS[@]}"; do [ -n "$(ours "$part")" ] || return 1; done
  timeout 10 scontrol ping | grep -q UP
}

check_machine() {
  local program
  need_root
  for program in "${PARTS[@]}" mariadb mariadb-install-db munge sacctmgr; do
    command -v "$program" >/dev/null || {
      say "$program is missing: run $here/install.sh"
      exit 1
    }
  done
}

make_folder() { # an empty one; never empty a folder that is not the lab's
  if [ -e "$DIR" ] && [ ! -e "$DIR/.slurm-lab" ]; then
    say "$DIR is there and not of this lab's making: give another SLURM_LAB_DIR"
    exit 1
  fi
  rm -rf "${DIR:?}"
  mkdir -p "$DIR"/{munge,state,log,pid,etc,gpu,mysql}
  chmod 755 "$DIR" "$DIR/munge"
  touch "$DIR/.slurm-lab"
}

write_config() {
  local names="labnode[1-$nodes]" ports="[$((port + 10))-$((port + 9 + nodes))]" i
  sed -e "s|@DIR@|$DIR|g; s|@HOST@|$host|g; s|@NODES@|$names|g; s|@NODE_PORTS@|$ports|g" \
    -e "s|@CONTROLLER_PORT@|$port|g; s|@DBD_PORT@|$((port + 1))|g; s|@KILL_WAIT@|$kill_wait|g" \
    -e "s|@CPUS@|$cpus|g; s|@MEM_MB@|$mem_mb|g; s|@GPUS@|$gpus|g" \
    -e "s|@FIRST_JOB@|$(($(date +%s) % 60000000 + 1))|g; s|@REQUEUE_DELAY@|$requeue_delay|g" \
    "$here/slurm.conf.in" >"$SLURM_CONF"
  # one character device a GPU: a count alone is refused, and so is one device for several
  for ((i = 0; i < gpus; i++)); do
    mknod "$DIR/gpu/gpu$i" c 1 3 2>/dev/null || touch "$DIR/gpu/gpu$i"
  done
  echo "NodeName=$names Name=gpu File=$DIR/gpu/gpu[0-$((gpus - 1))]" >"$DIR/etc/gres.conf"
  echo "CgroupPlugin=cgroup/v1" >"$DIR/etc/cgroup.conf" # read at start even where unused
}

name_nodes() { # ranks meet at the first node's name, so it must resolve
  local i
  for ((i = 1; i <= nodes; i++)); do
    mkdir "$DIR/spool.labnode$i"
    getent hosts "labnode$i" >/dev/null || echo "127.0.0.1 labnode$i $HOSTS_TAG" >>/etc/hosts
  done
}

start_munge() { # its own key and socket: nothing shared with a munged of the system
  head -c 128 /dev/urandom >"$DIR/munge/munge.key"
  chmod 600 "$DIR/munge/munge.key"
  munged --key-file="$DIR/munge/munge.key" --socket="$DIR/munge/munge.socket" \
    --pid-file="$DIR/pid/munged.pid" --log-file="$DIR/log/munged.log" \
    --seed-file="$DIR/munge/munge.seed" --num-threads=4 --force \
    >"$DIR/log/munged.out" 2>&1 || fail "munged does not start"
  within 10 munge -S "$DIR/munge/munge.socket" -n || fail "munged does not answer"
}

sql() { mariadb --no-defaults -uroot -S "$DIR/mysql.sock" -e "$1"; }

start_database() {
  # nothing here outlives the lab, so nothing waits for the disk
  local options=(--no-defaults --user=root --datadir="$DIR/mysql" --innodb-log-file-size=8M
    --innodb-flush-method=nosync --innodb-flush-log-at-trx-commit=0)
  mariadb-install-db "${options[@]}" --skip-test-db --auth-root-authentication-method=normal \
    >"$DIR/log/mariadb-install.log" 2>&1 || fail "the database can't be made"
  setsid mariadbd "${options[@]}" --socket="$DIR/mysql.sock" --bind-address=127.0.0.1 \
    --port=$((port + 2)) --pid-file="$DIR/pid/mariadbd.pid" --innodb-buffer-pool-size=64M \
    --innodb-lock-wait-timeout=900 --performance-schema=OFF \
    </dev/null >"$DIR/log/mariadbd.log" 2>&1 &
  within 30 sql 'select 1' || fail "mariadbd does not answer"
  sql "create database slurm_acct_db; create user slurm@'127.0.0.1' identified by '$1';
    grant all on slurm_acct_db.* to slurm@'127.0.0.1';"
}

start_accounting() {
  local password
  password=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
  start_database "$password"
  (
    umask 077
    cat >"$DIR/etc/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$DIR/munge/munge.socket
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=$((port + 1))
SlurmUser=root
PidFile=$DIR/pid/slurmdbd.pid
LogFile=$DIR/log/slurmdbd.log
DebugLevel=info
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((port + 2))
StorageUser=slurm
StoragePass=$password
StorageLoc=slurm_acct_db
CONF
  )
  slurmdbd >"$DIR/log/slurmdbd.out" 2>&1 || fail "slurmdbd does not start"
  within 30 sacctmgr -n show cluster || fail "slurmdbd does not answer"
  sacctmgr -i -Q add cluster lab >"$DIR/log/sacctmgr.log" 2>&1 || fail "no cluster in slurmdbd"
}

start_nodes() {
  local i
  slurmctld -f "$SLURM_CONF" >"$DIR/log/slurmctld.out" 2>&1 || fail "slurmctld does not start"
  for ((i = 1; i <= nodes; i++)); do
    slurmd -f "$SLURM_CONF" -N "labnode$i" >"$DIR/log/slurmd.labnode$i.out" 2>&1 ||
      fail "slurmd labnode$i does not start"
  done
  within 30 all_idle || fail "not every node is idle"
}
all_idle() { [ "$(sinfo -h -N -p lab -t idle -o %N | sort -u | wc -l)" = "$nodes" ]; }

check_machine
if up; then
  echo "start.sh: already up in $DIR"
  exit 0
fi
"$here/stop.sh" >/dev/null # what an earlier start left half done
make_folder
write_config
name_nodes
start_munge
start_accounting
start_nodes
echo "export SLURM_CONF=$SLURM_CONF" >"$DIR/env.sh"
echo "start.sh: $nodes idle nodes in $SECONDS s; . $DIR/env.sh"
