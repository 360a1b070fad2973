#!/bin/bash
# Start or stop a Slurm of one node by hand: no systemd, as root. It does not touch another Slurm.
#
#   slurm.sh start FOLDER    then: export SLURM_CONF=FOLDER/slurm.conf
#   slurm.sh stop FOLDER
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
run=$2
export PATH=$PATH:/usr/sbin:/sbin SLURM_CONF=$run/slurm.conf

free_ports() {
    python3 -c '
import socket
both = [socket.socket(), socket.socket()]
for each in both: each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in both))'
}

configure() {
    local host port node_port
    host=$(hostname -s)
    getent hosts "$host" > /dev/null ||
        { echo "host $host has no address: add '127.0.0.1 $host' to /etc/hosts" >&2; exit 1; }
    read -r port node_port <<< "$(free_ports)"
    sed -e "s#@HOST@#$host#g; s#@RUN@#$run#g; s#@PORT@#$port#; s#@NODE_PORT@#$node_port#" \
        -e "s#@CPUS@#${SLURM_TEST_CPUS:-$(nproc)}#" \
        -e "s#@MEMORY_MB@#$(awk '/MemTotal/ {printf "%d", $2 / 1024 * 0.9}' /proc/meminfo)#" \
        "$here/slurm.conf.in" > "$run/slurm.conf"
    # A pretended GPU, so that --gres=gpu:1 can be asked for.
    echo "NodeName=$host Name=gpu File=/dev/null" > "$run/gres.conf"
    head -c 128 /dev/urandom > "$run/munge.key"
    chmod 400 "$run/munge.key"
}

start() {
    trap abandon EXIT
    mkdir -p "$run/state" "$run/spool"
    chmod 755 "$run"
    configure
    munged --force --key-file="$run/munge.key" --socket="$run/munge.socket" \
        --pid-file="$run/munged.pid" --log-file="$run/munged.log" --seed-file="$run/munge.seed" 2>&1
    slurmctld -c
    slurmd
    for _ in $(seq 60); do
        [ "$(sinfo --noheader --format %T 2> /dev/null)" != idle ] || { trap - EXIT; return 0; }
        sleep 0.5
    done
    tail -n 5 "$run/slurmctld.log" "$run/slurmd.log" >&2
    echo "Slurm did not start within 30 s" >&2
    exit 1
}

# A start that fails leaves no daemon. A daemon writes its number shortly after it is started.
abandon() {
    sleep 1
    end_daemons
}

end_daemons() {
    local name
    for name in slurmd slurmctld munged; do end "$name"; done
}

end() {
    local pid
    pid=$(cat "$run/$1.pid" 2> /dev/null) || return 0
    # A number of an old file may belong to another program by now.
    [ "$(cat "/proc/$pid/comm" 2> /dev/null)" = "$1" ] || return 0
    kill "$pid" 2> /dev/null || return 0
    for _ in $(seq 20); do kill -0 "$pid" 2> /dev/null || return 0; sleep 0.5; done
    kill -KILL "$pid" 2> /dev/null || true
}

# Jobs outlive the daemons unless they are cancelled.
cancel_jobs() {
    timeout 10 squeue --noheader --format %A 2> /dev/null | sort -u | timeout 10 xargs -r scancel || true
    for _ in $(seq 30); do
        [ -n "$(timeout 10 squeue --noheader 2> /dev/null)" ] || return 0
        sleep 0.5
    done
}

stop() {
    cancel_jobs
    end_daemons
}

case "$1" in
    start | stop) "$1" ;;
    *) echo "usage: slurm.sh start|stop FOLDER" >&2; exit 2 ;;
esac
