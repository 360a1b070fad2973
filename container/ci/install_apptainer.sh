#!/bin/bash
# Install Apptainer on Debian 12 as root. Bookworm has no such package, so that of Debian unstable is
# taken; it needs a newer C library, which is put into a folder of its own and used by Apptainer's
# two programs alone. dpkg does not know of it; CONTRIBUTING.md says what is changed, install_tools.sh
# asks before.
set -euo pipefail

library=/opt/apptainer-lib
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
    -o DPkg::Lock::Timeout=300 patchelf squashfs-tools squashfuse fuse-overlayfs fuse2fs uidmap

# The machine's own mirror and key, with other suites; nothing of it stays.
# shellcheck disable=SC2016  # apt-get fills it in
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

# Everything is made ready in the temporary folder and copied last: an installation that stops on the
# way leaves no Apptainer that looks whole.
mkdir other own
for package in libc6_*.deb libseccomp2_*.deb libsqlite3-0_*.deb; do dpkg-deb -x "$package" other; done
dpkg-deb -x apptainer_*.deb own
for program in own/usr/bin/apptainer own/usr/lib/x86_64-linux-gnu/apptainer/bin/starter; do
    patchelf --force-rpath --set-rpath "$library" \
        --set-interpreter "$library/ld-linux-x86-64.so.2" "$program"
done
# Root in a container or small machine may lack capabilities that Apptainer would ask for.
sed -i 's/^root default capabilities = .*/root default capabilities = no/' own/etc/apptainer/apptainer.conf

mkdir -p "$library"
find other -path '*x86_64-linux-gnu/*' -name '*.so*' -exec cp -a --remove-destination {} "$library/" \;
cp -L "$(find other -name ld-linux-x86-64.so.2 | head -n 1)" "$library/ld-linux-x86-64.so.2.part"
mv "$library/ld-linux-x86-64.so.2.part" "$library/ld-linux-x86-64.so.2"
# Files and empty folders, so that no folder of the machine changes its mode; the program at the end.
(cd own && find . \( ! -type d -o -empty \) ! -path ./usr/bin/apptainer -print0) > files
tar -C own --null --files-from files -cf - | tar -C / -xf -
cp own/usr/bin/apptainer /usr/bin/apptainer.part
mv /usr/bin/apptainer.part /usr/bin/apptainer

# Ordinary users mount images by FUSE; --fakeroot needs numbers of users to map.
[ ! -e /dev/fuse ] || chmod 666 /dev/fuse
grep -q '^root:' /etc/subuid || usermod --add-subuids 200000-265535 --add-subgids 200000-265535 root
apptainer --version
