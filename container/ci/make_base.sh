#!/bin/bash
# Make a stand-in for the base image of the Dockerfile from Debian packages, under the very name of
# the base image, so that the Dockerfile is built unchanged where no registry can be reached.
#
#   make_base.sh NAME
#
# It holds this machine's certificates and settings of pip. Never push it. Keep it in a store of its
# own (CONTAINERS_STORAGE_CONF), or it hides the real base image.
set -euo pipefail

name=$1
! podman image exists "$name" || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# shellcheck disable=SC2016  # mmdebstrap fills in $1
mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv \
    --customize-hook='rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED "$1"/etc/resolv.conf "$1"/etc/hostname' \
    --customize-hook='ln -s /usr/bin/python3 "$1"/usr/local/bin/python3' \
    --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs' \
    --customize-hook='[ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$1"/etc/pip.conf' \
    bookworm "$work/base.tar"
podman import --quiet \
    --change 'CMD=["python3"]' \
    --change 'ENV=PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV=LANG=C.UTF-8' "$work/base.tar" "$name"
