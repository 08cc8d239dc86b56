#!/usr/bin/env bash
# Debian 12: what start.sh needs (about 75 MB installed), and shellcheck for the scripts' own test.
set -euo pipefail

packages=(slurm-wlm slurm-wlm-basic-plugins slurmdbd slurm-wlm-mysql-plugin munge
  mariadb-server-core mariadb-client-core shellcheck)
dpkg -s "${packages[@]}" >/dev/null 2>&1 && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "install.sh: works as root on Debian only; install by hand: ${packages[*]}" >&2
  exit 1
fi

# The packages would start system-wide daemons; the lab starts its own, under its own folder.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends "${packages[@]}"
