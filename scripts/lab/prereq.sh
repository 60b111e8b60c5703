# What the lab needs from the distribution. Sourced after base.sh.
#
# Decides which packages are missing and installs them; services that come with them are not started.
# Reads the package database, writes it only when something is missing.

# scapy, cryptography and tshark judge our packets in the data plane's tests.
LAB_PACKAGES="iproute2 nftables ethtool iperf3 tcpdump iputils-ping iputils-tracepath ike-scan procps jq kmod python3-minimal python3-scapy python3-cryptography tshark util-linux
  strongswan-swanctl charon-systemd libcharon-extra-plugins libcharon-extauth-plugins libstrongswan-standard-plugins libstrongswan-extra-plugins"

missing_packages() {
  local p
  for p; do
    [ "$(dpkg-query -Wf '${db:Status-Abbrev}' "$p" 2>/dev/null)" = 'ii ' ] || echo "$p"
  done
}

install_packages() { # PACKAGE...: those that are missing
  local missing policy=/usr/sbin/policy-rc.d mine= log
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null || die "missing packages, and no apt-get to install them: $(echo $missing)"
  say "installing:" $missing
  log=$(mktemp)
  # Debian asks this program before it starts a service; 101 says "not now".
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && mine=1
  fi
  (
    export DEBIAN_FRONTEND=noninteractive
    exec 9>/run/ravelin-apt.lock && flock 9
    apt-get update -q && apt-get install -qy --no-install-recommends -o DPkg::Lock::Timeout=300 $missing
  ) >"$log" 2>&1 || { [ -z "$mine" ] || rm -f $policy; tail -5 "$log" >&2; rm -f "$log"; die "could not install:" $missing; }
  [ -z "$mine" ] || rm -f $policy
  rm -f "$log"
}

lab_prerequisites() {
  install_packages $LAB_PACKAGES
  [ -c /dev/net/tun ] || modprobe tun 2>/dev/null || true
  [ -c /dev/net/tun ] || die "/dev/net/tun is missing: load the module tun"
  # Pinned XDP programs live here; most systems mount it at boot.
  mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf || die "cannot mount the BPF file system at /sys/fs/bpf"
  $PY -c 'import socket; socket.AF_PACKET' || die "$PY has no packet sockets"
}
