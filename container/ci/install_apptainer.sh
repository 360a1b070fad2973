#!/bin/bash
# Install Apptainer on Debian 12 as root. Bookworm has no such package, so that of Debian unstable is
# taken; it needs a newer C library, which is put into a folder of its own and used by Apptainer's
# two programs alone.
set -euo pipefail

library=/opt/apptainer-lib
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
    -o DPkg::Lock::Timeout=300 patchelf squashfs-tools squashfuse fuse-overlayfs fuse2fs uidmap

# The machine's own mirror and key, with other suites; nothing of it stays.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' | head -n 1)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/parts"
for suite in sid trixie; do
    echo "deb [signed-by=$keyring] ${mirror:?no mirror of bookworm is configured} $suite main"
done > "$work/other.list"
other=(-o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root
       -o Acquire::Check-Valid-Until=false  # a mirror may be a snapshot; signatures are checked
       -o Dir::Etc::sourcelist="$work/other.list" -o Dir::Etc::sourceparts="$work/parts")
apt-get "${other[@]}" -qq update
cd "$work"
apt-get "${other[@]}" -qq download apptainer/sid libc6/trixie libseccomp2/trixie libsqlite3-0/trixie

mkdir tree
for package in libc6_*.deb libseccomp2_*.deb libsqlite3-0_*.deb; do dpkg-deb -x "$package" tree; done
mkdir -p "$library"
find tree -path '*x86_64-linux-gnu/*' -name '*.so*' -exec cp -a {} "$library/" \;
cp -L "$(find tree -name ld-linux-x86-64.so.2 | head -n 1)" "$library/ld-linux-x86-64.so.2.part"
mv "$library/ld-linux-x86-64.so.2.part" "$library/ld-linux-x86-64.so.2"
dpkg-deb -x apptainer_*.deb /
for program in /usr/bin/apptainer /usr/lib/x86_64-linux-gnu/apptainer/bin/starter; do
    patchelf --force-rpath --set-rpath "$library" \
        --set-interpreter "$library/ld-linux-x86-64.so.2" "$program"
done

# Root in a container or small machine may lack capabilities that Apptainer would ask for.
sed -i 's/^root default capabilities = .*/root default capabilities = no/' /etc/apptainer/apptainer.conf
# Ordinary users mount images by FUSE; --fakeroot needs numbers of users to map.
[ ! -e /dev/fuse ] || chmod 666 /dev/fuse
grep -q '^root:' /etc/subuid || usermod --add-subuids 200000-265535 --add-subgids 200000-265535 root
apptainer --version
