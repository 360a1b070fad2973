#!/bin/bash
# Install what `make deploy-test` needs, on Debian 12 as root. What is there already is left as it is.
#
#   install_tools.sh [engine] [apptainer] [slurm] [datalad]      default: all four
#
# Says of each group whether it is there; a group that cannot be had is named, and the exit status is 1.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
updated=""

missing() {
    local tool
    for tool in "$@"; do
        PATH=$PATH:/usr/sbin:/sbin type -P "$tool" > /dev/null || printf '%s ' "$tool"
    done
}

install() {
    [ -n "$updated" ] || { apt-get update -qq || return 1; updated=yes; }
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@"
}

# NAME "tools that must be there" COMMAND...: run the command where a tool is missing.
have() {
    local name=$1 tools=$2 lacking
    shift 2
    lacking=$(missing $tools)
    if [ -n "$lacking" ]; then
        if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
            echo "$name: installing ($lacking)"
            "$@" > /dev/null || true
        fi
        lacking=$(missing $tools)
    fi
    [ -z "$lacking" ] && { echo "$name: there"; return 0; }
    echo "$name: MISSING ($lacking): install it, or run $0 $name as root on Debian 12" >&2
    return 1
}

engine() {
    have engine "buildah podman runc mmdebstrap" \
        install buildah podman runc mmdebstrap uidmap fuse-overlayfs
}

apptainer() { have apptainer "apptainer mksquashfs" bash "$here/install_apptainer.sh"; }

slurm() {
    have slurm "munged slurmctld slurmd sbatch squeue scancel" \
        install slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge
}

datalad() { have datalad "git datalad git-annex" install git git-annex datalad datalad-container; }

status=0
[ $# -gt 0 ] || set -- engine apptainer slurm datalad
for group in "$@"; do
    case "$group" in
        engine | apptainer | slurm | datalad) "$group" || status=1 ;;
        *) echo "$group: expected engine, apptainer, slurm or datalad" >&2; exit 2 ;;
    esac
done
exit $status
