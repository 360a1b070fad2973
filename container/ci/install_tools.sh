#!/bin/bash
# Say which tools of `make deploy-test` are there, and install what is missing, on Debian 12 as root.
#
#   install_tools.sh [engine] [apptainer] [slurm] [datalad]      default: all four
#
# Installing changes the machine; CONTRIBUTING.md says how. It is done only where CI is set or
# BIDS_MFI_INSTALL_TOOLS=1. What works already is left as it is. A group that is not there in the end
# is named, and the exit status is 1.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
updated=""

allowed() {
    case "${BIDS_MFI_INSTALL_TOOLS:-${CI:-}}" in
        "" | 0 | false | no) return 1 ;;
    esac
}

able() { [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; }

# A half-installed Apptainer is there as a file and does not run.
works() {
    [ "${1##*/}" != apptainer ] || "$1" --version > /dev/null 2>&1
}

missing() {
    local tool path
    for tool in "$@"; do
        path=$(PATH=$PATH:/usr/sbin:/sbin type -P "$tool") && works "$path" || printf '%s ' "$tool"
    done
}

# shellcheck disable=SC2329  # called by have
apt_install() {
    [ -n "$updated" ] || { apt-get update -qq || return 1; updated=yes; }
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@"
}

advice() {
    if ! able; then
        echo "install it, or run this as root on Debian 12"
    elif ! allowed; then
        echo "install it, or allow it to be installed on this machine:" \
             "BIDS_MFI_INSTALL_TOOLS=1 make deploy-test (what this changes: CONTRIBUTING.md)"
    else
        echo "it could not be installed"
    fi
}

# NAME "tools that must be there" COMMAND...: run the command where a tool is missing.
have() {
    local name=$1 tools lacking
    read -ra tools <<< "$2"
    shift 2
    lacking=$(missing "${tools[@]}")
    if [ -n "$lacking" ] && able && allowed; then
        echo "$name: installing (${lacking% })"
        "$@" > /dev/null || true
        hash -r
        lacking=$(missing "${tools[@]}")
    fi
    [ -n "$lacking" ] || { echo "$name: there"; return 0; }
    echo "$name: MISSING (${lacking% }), its tests are skipped: $(advice)" >&2
    return 1
}

group() {
    case "$1" in
        engine)
            have engine "buildah podman runc mmdebstrap" \
                apt_install buildah podman runc mmdebstrap uidmap fuse-overlayfs ;;
        apptainer)
            have apptainer "apptainer mksquashfs" bash "$here/install_apptainer.sh" ;;
        slurm)
            have slurm "munged slurmctld slurmd sbatch squeue scancel" \
                apt_install slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge ;;
        datalad)
            have datalad "git datalad git-annex" \
                apt_install git git-annex datalad datalad-container ;;
        *)
            echo "$1: expected engine, apptainer, slurm or datalad" >&2
            exit 2 ;;
    esac
}

status=0
[ $# -gt 0 ] || set -- engine apptainer slurm datalad
for name in "$@"; do group "$name" || status=1; done
exit $status
