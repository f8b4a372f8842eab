#!/bin/sh
# Proves "a bare machine": makes a Debian 12 root with debootstrap, clones this repository's HEAD into it and
# runs both commands there, as a newcomer would. Needs root.
# Usage: tools/bare-machine.sh [bookworm|trixie] [FOLDER] [STAGE...]
# trixie: Debian 13 instead. The folder (default: a new temporary one, removed at the end) is kept when it is named;
# STAGEs go to ./test.
set -eu
release=bookworm
case ${1-} in bookworm | trixie) release=$1 && shift ;; esac
top=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" -eq 0 ] || { echo "bare-machine: needs root (debootstrap, mount, chroot)" >&2; exit 1; }
command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >&2
if [ $# -gt 0 ]; then root=$1 keep=yes; shift; else root=$(mktemp -d /tmp/subpay-bare.XXXXXX) keep=; fi

leave() {
    for mount in dev/pts dev/shm dev proc sys; do
        mountpoint -q "$root/$mount" && umount -l "$root/$mount"
    done
    [ -n "$keep" ] || rm -rf --one-file-system "$root"
}
trap leave EXIT
trap 'exit 1' INT TERM

mirror=$(sed -n 's/^URIs: *//p; s/^deb \(http[^ ]*\) bookworm .*/\1/p' \
    /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -n 1)
[ -x "$root/bin/sh" ] || debootstrap --variant=minbase "$release" "$root" ${mirror:+"$mirror"} >"$root.log" 2>&1 ||
    { tail -n 20 "$root.log" >&2; exit 1; }
rm -f "$root.log"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys" 2>/dev/null || mount -t sysfs sysfs "$root/sys"
mount --bind /dev "$root/dev"
mount -t devpts devpts "$root/dev/pts" 2>/dev/null || mount --bind /dev/pts "$root/dev/pts"
mkdir -p "$root/dev/shm" && { mountpoint -q "$root/dev/shm" || mount -t tmpfs tmpfs "$root/dev/shm"; }
# The host's own way to the package archive: resolver, proxies and extra certificates, where it has any.
cp /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
cp -r /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
mkdir -p "$root/usr/local/share/ca-certificates"
cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true

rm -rf "$root/subpay"
git clone -q "$top" "$root/subpay"
inside() { chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin CI="${CI:-}" "$@"; }

echo "== ./run on a bare machine ($release)"
inside /bin/sh -c '
    cd /subpay || exit 1
    ./run >/tmp/run.log 2>/tmp/run.err & pid=$!
    tries=0
    until grep -q "subpay is ready" /tmp/run.log; do
        kill -0 $pid 2>/dev/null || { cat /tmp/run.err /tmp/run.log; exit 1; }
        tries=$((tries + 1)); [ $tries -lt 3000 ] || { echo "not ready in 300 s"; exit 1; }
        sleep 0.1
    done
    cat /tmp/run.log
    kill -TERM $pid; wait $pid'
echo "== ./test on a bare machine ($release)"
inside /bin/sh -c 'cd /subpay && exec ./test "$@"' sh "$@"
