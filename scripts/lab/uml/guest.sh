# A gateway that is a Linux kernel of its own: User-mode Linux, an ordinary process with a network stack, XFRM and
# strongSwan inside. A peer with plain ESP (IP protocol 50), whatever the kernel of this machine can do.
# Source after lab.sh.
#
# Decides how a guest is started and spoken to. The guest takes the two devices of its gateway namespace, which keeps no
# address on them: towards the lab it stands exactly where that gateway stood.

GUEST_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
GUEST_PACKAGES="user-mode-linux kmod iproute2 ethtool gcc libc6-dev"

guest_prerequisites() {
  install_packages $GUEST_PACKAGES
  case $GUEST_HERE$LAB in *[[:space:],]*) die "the guest's kernel takes no blank and no comma in a path: $GUEST_HERE, $LAB" ;; esac
  gcc -O2 -Wall -Werror -shared -fPIC -o "$LAB/preload.so" "$GUEST_HERE/preload.c" -ldl || die "cannot compile preload.c"
  # A classic BPF program: what the kernel sends out by the device itself (packet type 4) is not to be received.
  "$PY" - "$LAB/incoming.bpf" <<'PYTHON' || die "cannot write the guest's packet filter"
import struct, sys
LOAD_BYTE, JUMP_EQUAL, RETURN, PACKET_TYPE, OUTGOING = 0x30, 0x15, 0x06, 0xFFFFF004, 4
program = [(LOAD_BYTE, 0, 0, PACKET_TYPE), (JUMP_EQUAL, 0, 1, OUTGOING), (RETURN, 0, 0, 0), (RETURN, 0, 0, 0xFFFFFFFF)]
open(sys.argv[1], "wb").write(b"".join(struct.pack("HBBI", *line) for line in program))
PYTHON
}

guest_dir() { echo "$LAB/guest$1"; }

# guest_start SIDE [MEMORY]: in place of gateway A or B
guest_start() {
  local side=$1 memory=${2:-192M} ns=gw$1 dir device n=0 nics=
  dir=$(guest_dir "$side")
  mkdir -p "$dir/share" "$dir/run"
  mkfifo "$dir/console"
  in_ns "$ns" sysctl -qw net.ipv4.ip_forward=0
  for device in wan0 lan0; do
    ipn "$ns" addr flush dev "$device"
    nics="$nics vec$n:transport=raw,ifname=$device,depth=128,mac=$(guest_mac "$side" $n),bpffile=$LAB/incoming.bpf"
    n=$((n + 1))
  done
  # Its kernel does not heed TERM, and leaves helpers behind when it is killed alone. It leads a process group of its
  # own, which ends with this shell. Both ends of the console's pipe are the guest's, so that its input never ends.
  start_process "guest$side" "$ns" bash -c '"${@:2}" <>"$1" & trap "kill -KILL -- -$! $!" TERM; wait' - "$dir/console" \
    env -i PATH="$PATH" TMPDIR=/dev/shm LD_PRELOAD="$LAB/preload.so" \
    linux.uml mem="$memory" root=/dev/root rootfstype=hostfs rootflags=/ ro init="$GUEST_HERE/init" share="$dir/share" \
    con=null con0=fd:0,fd:1 ssl=null umid=guest uml_dir="$dir/run" noreboot quiet panic=1 $nics
  wait_until 60 guest_ready_or_gone "$side"
  [ -e "$dir/share/ready" ] || { tail -5 "$LAB/guest$side.log" >&2; die "the guest did not start"; }
}
guest_ready_or_gone() { [ -e "$(guest_dir "$1")/share/ready" ] || ! alive "guest$1"; }
# Fixed: a random one would leave the neighbours with entries of an earlier guest.
guest_mac() { [ "$1" = A ] && echo "02:00:00:00:0a:0$2" || echo "02:00:00:00:0b:0$2"; }

# guest_run SIDE SCRIPT [SECONDS]: prints what the script printed, returns its status; 124 when it did not end in time
guest_run() {
  local side=$1 script=$2 seconds=${3:-20} share n
  share=$(guest_dir "$side")/share
  n=$(($(cat "$share/count" 2>/dev/null || echo 0) + 1))
  echo $n >"$share/count"
  printf '%s\n' "$script" >"$share/$n.sh"
  echo $n >"$(guest_dir "$side")/console"
  wait_until "$seconds" test -e "$share/$n.status" || { echo "the guest did not answer in $seconds s"; return 124; }
  cat "$share/$n.out"
  return "$(cat "$share/$n.status")"
}

# Nothing in a guest needs to be put in order: it writes to no disk.
guest_stop() { stop_process "guest$1"; }

# guest_network SIDE: addresses and routes of that gateway, and what the kernel needs for ESP
guest_network() {
  local out=$OUT_A in=$IN_A peer=$OUT_B
  [ "$1" = A ] || out=$OUT_B in=$IN_B peer=$OUT_A
  # IPv6 must be there for XFRM, and silent. Modules now: otherwise the first SA waits for them.
  guest_run "$1" "
    set -e
    PATH=/run:\$PATH
    modprobe ipv6 disable_ipv6=1
    for m in xfrm_user esp4 ah4 xfrm4_tunnel authenc echainiv seqiv ctr gcm cbc sha1_generic sha256_generic chacha20poly1305; do modprobe \$m || echo no \$m; done
    for d in vec0 vec1; do
      for f in tso gso gro; do ethtool -K \$d \$f off >/dev/null 2>&1 || true; done
      ip link set \$d up
    done
    ip addr add $out/24 dev vec0
    ip addr add $in/24 dev vec1
    ip route add default via $peer
    sysctl -qw net.ipv4.ip_forward=1" || die "the guest's network could not be set up"
}

# guest_network_six SIDE: the same of IPv6, beside it
guest_network_six() {
  local out=$OUT6_A in=$IN6_A peer=$OUT6_B
  [ "$1" = A ] || out=$OUT6_B in=$IN6_B peer=$OUT6_A
  guest_run "$1" "
    set -e
    PATH=/run:\$PATH
    for m in esp6 ah6 xfrm6_tunnel; do modprobe \$m || echo no \$m; done
    for d in vec0 vec1; do sysctl -qw net.ipv6.conf.\$d.accept_dad=0 net.ipv6.conf.\$d.router_solicitations=0; done
    sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.vec0.disable_ipv6=0 net.ipv6.conf.vec1.disable_ipv6=0
    ip addr add $out/64 dev vec0 nodad
    ip addr add $in/64 dev vec1 nodad
    ip route add default via $peer
    sysctl -qw net.ipv6.conf.all.forwarding=1" || die "the guest's IPv6 network could not be set up"
}

# What the guest's kernel refused for its contents, by its own counters: names and figures that are not 0. (Packets that
# come before their SA or after its end are no fault.)
guest_xfrm_faults() {
  guest_run "$1" "awk '\$2 && /InError|InBuffer|InHdr|StateProto|StateMode|StateSeq|Mismatch|InTmpl|InPol/ { print \$1, \$2 }' /proc/net/xfrm_stat"
}
