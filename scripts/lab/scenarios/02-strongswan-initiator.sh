# strongSwan begins: Ravelin answers as responder, by a port that admits the VPN alone
# quick
#
# R222: everything up to `check_wan` comes by that port.
scenario() {
  watch_start
  ravelin_config A start=respond
  admit_vpn
  ravelin_start A
  equal "nothing is sent before the peer begins" 0 "$(wan_settle; wan_count ike)"
  strongswan_start B role=initiator
  check "the tunnel comes up" wait_until 20 tunnel_up A
  check "strongSwan has the child SA installed" wait_until 5 strongswan_up B
  wait_path hostB "$HOST_A"
  equal "pings hostB to hostA" 20 "$(pings hostB "$HOST_A" 20)"
  equal "pings hostA to hostB" 20 "$(pings hostA "$HOST_B" 20)"
  swanctl_do B --terminate --ike peer >/dev/null 2>&1
  check "strongSwan's Delete takes the tunnel down" wait_until 5 not tunnel_up A
  equal "no ping passes without the tunnel" 0 "$(pings hostA "$HOST_B" 2 -W 1)"
  at_least "they are counted as no_outbound_sa" 1 "$(drops_of A no_outbound_sa)"
  swanctl_do B --initiate --child net >/dev/null 2>&1
  check "the tunnel comes up again" wait_until 10 tunnel_up A
  equal "pings hostA to hostB, again" 10 "$(wait_path hostA "$HOST_B"; pings hostA "$HOST_B" 10)"
  check_conservation A
  watch_stop
  check_wan
  vpn_only
}

ADMITS='/^name = "wan0"/a admit = "vpn"'
admit_vpn() { sed -i "$ADMITS" "$LAB/ravelinA/ravelin.toml"; }
admit_all() { sed -i '/^admit = /d' "$LAB/ravelinA/ravelin.toml"; }
reload() { signal_process controlA HUP; }
not_admitted() { ravelin_json A ports | jq '.[] | select(.name == "wan0") | .counters.not_admitted'; }
reaches() { in_ns gwB timeout 0.5 bash -c "echo >/dev/tcp/$OUT_A/8080"; }

vpn_only() {
  local before sent
  start_process tcp.A gwA "$PY" -c 'import socket; s = socket.create_server(("0.0.0.0", 8080))
while True: s.accept()[0].close()'
  check "something listens on the gateway" wait_until 5 tcp_open gwA 8080
  check "it is not reached by TCP" not reaches
  equal "nor is the gateway by ping" 0 "$(pings gwB "$OUT_A" 2 -W 1)"
  before=$(not_admitted)
  sent=$(in_ns wan "$PY" - toA "$(mac_of gwA wan0)" "$OUT_B" "$OUT_A" "$HOST_A" <<<"$STRANGERS")
  equal "what scapy makes of no VPN is dropped as not_admitted, each frame" "$sent" "$(wait_until 3 counted $((before + sent)); echo $(($(not_admitted) - before)))"
  check "and show ports says so" grep -q 'wan0: dropped, since the port admits the VPN alone' <(ravelin_do A show ports)

  flow_start ab A B 6 500
  admit_all && reload
  check "a reload opens the port" wait_until 5 reaches
  admit_vpn && reload
  check "another closes it" wait_until 5 not reaches
  check_flow ab "500 datagrams a second by the tunnel, across both" 20
  check_conservation A

  kill_process controlA
  check "control process killed: closed" not reaches
  kill_process dataplaneA
  check "both killed: closed" not reaches
}
counted() { [ "$(not_admitted)" -ge "$1" ]; }

STRANGERS='
import sys
from scapy.all import (ARP, Dot1AD, Dot1Q, Ether, GRE, ICMP, IP, IPOption_RR, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment,
                       IPv6ExtHdrHopByHop, ICMPv6EchoRequest, ICMPv6ND_NS, PPPoED, Raw, TCP, UDP, conf, fragment)
dev, mac, src, dst, inside = sys.argv[1:]
eth = Ether(dst=mac, src="02:00:00:00:00:99")
ip, ip6 = IP(src=src, dst=dst), IPv6(src="2001:db8::2", dst="2001:db8::1")
large = Raw(b"x" * 1200)
frames = [eth / p for p in [
    ip / TCP(dport=22, flags="S"), ip / TCP(dport=500), ip / UDP(dport=53), ip / UDP(dport=501), ip / ICMP(), ip / GRE() / ip,
    ip / ICMP(type=3, code=4, nexthopmtu=900) / ip / TCP(), ip / ICMP(type=5, code=1, gw=src) / IP(src=dst, dst=src) / UDP(sport=500),
    IP(src=src, dst=inside) / UDP(dport=500), IP(src=src, dst="224.0.0.5", proto=89) / large,
    IP(src=src, dst=dst, options=[IPOption_RR()]) / TCP(dport=22), IP(src=src, dst=dst, ihl=15, options=[Raw(b"\1" * 40)]) / UDP(dport=53),
    Dot1Q(vlan=7) / ip / TCP(dport=22), Dot1AD(vlan=7) / Dot1Q(vlan=8) / ip / UDP(dport=53), Dot1Q(vlan=7) / ip6 / TCP(dport=22),
    ip6 / ICMPv6EchoRequest(), ip6 / TCP(dport=500), ip6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP(dport=53),
    ip6 / IPv6ExtHdrFragment(offset=0, m=1, id=7) / TCP(dport=22), IPv6(src="2001:db8::2", dst="2001:db8::1", hlim=64) / ICMPv6ND_NS(tgt="2001:db8::1"),
    PPPoED(), Dot1Q(vlan=7) / PPPoED()]]
frames += [eth / p for p in fragment(IP(src=src, dst=dst, id=77) / UDP(dport=53) / large, 400)]
sock = conf.L2socket(iface=dev)
for frame in frames * 5:
    sock.send(frame)
print(len(frames) * 5)
'
