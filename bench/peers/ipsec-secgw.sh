#!/usr/bin/env bash
# DPDK's ipsec-secgw example as a peer of the benches: see common.sh for the commands. AES-128-GCM in plain ESP, one
# core. The distribution packages DPDK's libraries but not this program: `install` builds it from the source package of the
# same version, into a folder of its own.
#
# PORTS=af_xdp (AF_XDP sockets, the default) or af_packet (PACKET_MMAP sockets, where AF_XDP ports do not work)
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

BUILT=${RAVELIN_BENCH_DPDK:-/var/cache/ravelin-bench/dpdk}
PROGRAM=$BUILT/ipsec-secgw

install() {
  [ ! -x "$PROGRAM" ] || return 0
  packages gcc make pkg-config xz -- gcc make pkg-config xz-utils
  pkg-config --exists libdpdk || packages no-such-command -- libdpdk-dev dpdk-dev
  mkdir -p "$BUILT/lists/partial"
  cd "$BUILT"
  # A list of sources of this script's own: the machine's stays as it is.
  local suite
  suite=$(. /etc/os-release; echo "$VERSION_CODENAME")
  echo "deb-src http://deb.debian.org/debian $suite main" >src.list
  local own=(-o "Dir::State::lists=$BUILT/lists" -o "Dir::Etc::sourcelist=$BUILT/src.list" -o Dir::Etc::sourceparts=-)
  timeout 180 apt-get "${own[@]}" -qq update >&2 || die "cannot read the list of source packages (cure: a network)"
  timeout 300 apt-get "${own[@]}" -qq source --download-only dpdk >&2 || die "cannot fetch the source of dpdk"
  tar xf dpdk_*.orig.tar.xz --wildcards '*/examples/ipsec-secgw/*' '*/examples/common/*'
  # It demands checksum offload of every port, which neither kind of socket has; it does not look at the result.
  sed -i 's/\.offloads = RTE_ETH_RX_OFFLOAD_CHECKSUM,/.offloads = 0,/' dpdk-*/examples/ipsec-secgw/ipsec-secgw.c
  make -C dpdk-*/examples/ipsec-secgw shared >build.log 2>&1 || die "ipsec-secgw does not build: $(tail -3 build.log)"
  cp dpdk-*/examples/ipsec-secgw/build/ipsec-secgw-shared "$PROGRAM"
}

key() { od -An -v -tx1 -N20 /dev/urandom | tr -s ' \n' ':' | sed 's/^://; s/:$//'; }

# The program wants an SA of each direction, though the bench only sends one way.
config() {
  cat <<CONF
sp ipv4 in esp protect 2000 pri 1 src $NET_B dst $NET_A sport 0:65535 dport 0:65535
sa in 2000 aead_algo aes-128-gcm aead_key $(key) mode ipv4-tunnel src $OUT_B dst $OUT_A
sp ipv4 out esp protect 1000 pri 1 src $NET_A dst $NET_B sport 0:65535 dport 0:65535
sa out 1000 aead_algo aes-128-gcm aead_key $(key) mode ipv4-tunnel src $OUT_A dst $OUT_B
rt ipv4 dst 198.18.0.0/24 port 1
rt ipv4 dst $NET_A port 0
neigh port 1 $1
CONF
}

up() {
  local gw=$1 sink=$2 dir=$3 ports=${PORTS:-af_xdp} a b mac
  case $ports in
    af_xdp) a=net_af_xdp0,iface=lan0 b=net_af_xdp1,iface=wan0 ;;
    af_packet) a=net_af_packet0,iface=lan0,blocksz=4096,framesz=2048,framecnt=4096 b=net_af_packet1,iface=wan0,blocksz=4096,framesz=2048,framecnt=4096 ;;
    *) die "PORTS=$ports is neither af_xdp nor af_packet" ;;
  esac
  mac=$(in_ns "$sink" ip -o link show sink0 | sed -n 's/.*link\/ether \([^ ]*\) .*/\1/p')
  config "$mac" >"$dir/secgw.cfg"
  echo "$gw" >"$dir/gw"
  ulimit -l unlimited 2>/dev/null || true # its packet memory is locked, as far as the machine lets it
  start "$dir" near "$gw" "$PROGRAM" -l 1 --no-huge -m 512 --no-pci --no-shconf --no-telemetry \
    --vdev "$a" --vdev "$b" --vdev crypto_aesni_gcm0 -- -p 0x3 -P -u 0x2 --config '(0,0,1),(1,0,1)' -f "$dir/secgw.cfg"
  wait_until 20 running "$dir" || die "ipsec-secgw did not start: $(tail -5 "$dir/near.log")"
  kill -0 "$(cat "$dir/near.pid")" || die "ipsec-secgw ended: $(tail -5 "$dir/near.log")"
  cp "$dir/near.pid" "$dir/pids"
  echo "aes-128-gcm, $ports ports, 1 core" >"$dir/mode"
}

# A killed program leaves its XDP programs on the ports, where nobody else's would go.
after() {
  local dev
  [ -f "$1/gw" ] || return 0
  for dev in lan0 wan0; do in_ns "$(cat "$1/gw")" ip link set dev "$dev" xdp off 2>/dev/null || true; done
}

# Its main loop, or its end.
running() { grep -q 'entering main loop' "$1/near.log" || gone "$(cat "$1/near.pid")"; }

case ${1:-} in
  install) install ;;
  up) locked "$4"; clean_up_after_failure "$4"; up "$2" "$3" "$4" ;;
  down) locked "$2"; down "$2"; after "$2" ;;
  guard) guard "$2" ;;
  *) die "usage: ${0##*/} install | up GW SINK DIR | down DIR | guard DIR" ;;
esac
