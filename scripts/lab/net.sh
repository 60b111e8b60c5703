# Namespaces and links of the lab. Sourced after base.sh.
#
#   hostA 10.1.0.10 -- lan0 gwA wan0 -- toA [bridge br0] toB -- wan0 gwB lan0 -- 10.2.0.10 hostB
#         inside of gwA 10.1.0.1           198.18.0.0/24        inside of gwB 10.2.0.1
#
# Each gateway's default route points at the other one, and the kernel forwards: a packet that escapes the tunnel
# would cross the wan in clear, where the watch sees it. All segmentation and checksum offloads are off, as on a wire.

NET_A=10.1.0.0/24  HOST_A=10.1.0.10  IN_A=10.1.0.1  OUT_A=198.18.0.1
NET_B=10.2.0.0/24  HOST_B=10.2.0.10  IN_B=10.2.0.1  OUT_B=198.18.0.2

# With `six_up` the same in IPv6: inside fd00:a::/64 and fd00:b::/64, the gateways at 2001:db8:ff::1 and ::2.
NET6_A=fd00:a::/64  HOST6_A=fd00:a::10  IN6_A=fd00:a::1  OUT6_A=2001:db8:ff::1
NET6_B=fd00:b::/64  HOST6_B=fd00:b::10  IN6_B=fd00:b::1  OUT6_B=2001:db8:ff::2

# in_ns NAME COMMAND...: with nsenter, since `ip netns exec` would hide /sys/fs/bpf behind a fresh /sys
in_ns() { local ns=$1; shift; nsenter --net="/run/netns/$LAB_ID-$ns" -- "$@"; }
ipn() { local ns=$1; shift; ip -n "$LAB_ID-$ns" "$@"; }

make_ns() {
  local ns
  for ns; do
    ip netns add "$LAB_ID-$ns" || die "cannot make namespace $LAB_ID-$ns"
    # Without IPv6 no multicast listener reports: what is not IKE, ESP or ARP is then certainly a fault.
    in_ns "$ns" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 || true
    ipn "$ns" link set lo up
  done
}

like_a_wire() { # NS DEVICE
  local f
  in_ns "$1" ethtool -K "$2" tx off rx off >/dev/null 2>&1
  for f in tso gso gro; do in_ns "$1" ethtool -K "$2" $f off >/dev/null 2>&1 || true; done
}

make_link() { # NS DEVICE NS DEVICE [MTU]
  local mtu=${5:-1500}
  ip -n "$LAB_ID-$1" link add "$2" mtu "$mtu" type veth peer name "$4" mtu "$mtu" netns "$LAB_ID-$3" ||
    die "cannot make the link $1/$2 - $3/$4"
  like_a_wire "$1" "$2"
  like_a_wire "$3" "$4"
  ipn "$1" link set "$2" up
  ipn "$3" link set "$4" up
}

make_topology() {
  make_ns hostA gwA wan gwB hostB
  make_link hostA eth0 gwA lan0
  make_link gwA wan0 wan toA
  make_link gwB wan0 wan toB
  make_link hostB eth0 gwB lan0
  ipn wan link add br0 type bridge mcast_snooping 0
  ipn wan link set br0 up
  ipn wan link set toA master br0
  ipn wan link set toB master br0
  ipn hostA addr add "$HOST_A/24" dev eth0
  ipn gwA addr add "$IN_A/24" dev lan0
  ipn gwA addr add "$OUT_A/24" dev wan0
  ipn gwB addr add "$OUT_B/24" dev wan0
  ipn gwB addr add "$IN_B/24" dev lan0
  ipn hostB addr add "$HOST_B/24" dev eth0
  # A second network behind each gateway, for tests with two tunnels.
  ipn hostA addr add 10.9.1.10/24 dev eth0
  ipn gwA addr add 10.9.1.1/24 dev lan0
  ipn gwB addr add 10.9.2.1/24 dev lan0
  ipn hostB addr add 10.9.2.10/24 dev eth0
  ipn hostA route add default via "$IN_A"
  ipn gwA route add default via "$OUT_B"
  ipn gwB route add default via "$OUT_A"
  ipn hostB route add default via "$IN_B"
  in_ns gwA sysctl -qw net.ipv4.ip_forward=1
  in_ns gwB sysctl -qw net.ipv4.ip_forward=1
}

# IPv6 beside IPv4, as quiet as it gets: no router solicitations, no duplicate address detection.
six_up() {
  local place ns dev addr
  for place in hostA:eth0:$HOST6_A gwA:lan0:$IN6_A gwA:wan0:$OUT6_A gwB:wan0:$OUT6_B gwB:lan0:$IN6_B hostB:eth0:$HOST6_B; do
    IFS=: read -r ns dev addr <<<"$place"
    in_ns "$ns" sysctl -qw "net.ipv6.conf.$dev.accept_dad=0" "net.ipv6.conf.$dev.router_solicitations=0" \
      net.ipv6.conf.all.disable_ipv6=0 "net.ipv6.conf.$dev.disable_ipv6=0"
    ipn "$ns" addr add "$addr/64" dev "$dev" nodad
  done
  in_ns gwA sysctl -qw net.ipv6.conf.all.forwarding=1
  in_ns gwB sysctl -qw net.ipv6.conf.all.forwarding=1
  ipn hostA route add default via "$IN6_A"
  ipn gwA route add default via "$OUT6_B"
  ipn gwB route add default via "$OUT6_A"
  ipn hostB route add default via "$IN6_B"
}

mac_of() { ipn "$1" -j link show "$2" | jq -r '.[0].address'; }
xdp_on() { ipn "$1" -j -d link show "$2" | jq -e '.[0].xdp.mode // 0 | . != 0' >/dev/null; }
