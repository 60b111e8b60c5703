# MTU 1,500 inside and outside: TCP without tricks, ICMP errors for DF, fragments before encryption without
# quick
#
# AES-GCM over 1,500: IP 20, ESP 8, IV 8, payload and padding to 4 with the trailer's 2, ICV 16: 1,446 octets of payload
# fit; with UDP (8) in between 1,438.
scenario() {
  watch_start
  ravelin_config A start=immediately
  ravelin_config B start=respond
  ravelin_start B
  ravelin_start A
  check "the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  fits_exactly 1446 "plain ESP"
  check "tracepath finds the MTU" finds_mtu 1446
  ipn hostA route flush cache # what the host has learnt, lest it fragments by itself
  local before
  before=$(wan_settle; wan_count esp)
  equal "1,500 octets without DF pass" 10 "$(pings hostA "$HOST_B" 10 -M dont -s 1472)"
  at_least "as two ESP packets each, there and back" 40 $(($(wan_settle; wan_count esp) - before))
  equal "3,000 octets in fragments of the host pass" 10 "$(pings hostA "$HOST_B" 10 -M dont -s 3000)"
  ipn hostA route flush cache
  check "TCP with full-size segments hostA to hostB" iperf A B -t 3
  at_least "Mbit/s" 1 "$(iperf_mbit)"
  check "TCP hostB to hostA" iperf A B -t 3 -R
  at_least "Mbit/s" 1 "$(iperf_mbit)"
  ipn hostA route flush cache
  ipn hostB route flush cache
  flow_start ab A B 3 500 1472
  flow_start ba B A 3 500 1472
  check_flow ab "datagrams of 1,472 octets without DF, hostA to hostB"
  check_flow ba "datagrams of 1,472 octets without DF, hostB to hostA"
  equal "no ESP packet was fragmented outside" 0 "$(wan_settle; wan_count unexpected)"
  narrower_way
  check_conservation A
  check_conservation B
  watch_stop
  check_wan
}

# RFC 4301 §8.2: a router between the gateways says that 1,300 is all; somebody who does not know the SPI says 900.
narrower_way() {
  local spi
  spi=0x$(tunnel_value A spi_out)
  router_says $((spi ^ 1)) 900
  router_says "$((spi))" 1300
  check "the control process believes it" wait_until 3 narrower
  ipn hostA route flush cache
  fits_exactly 1246 "1,300 octets on the way"
}
router_says() { # SPI MTU
  "$PY" "$LAB_HERE/py/wire.py" too_big "$LAB/too-big" "$(mac_of wan toA)" "$(mac_of gwA wan0)" "$OUT_B" "$OUT_A" "$1" "$2" >/dev/null
  in_ns wan "$PY" "$LAB_HERE/py/wire.py" send toA "$LAB/too-big" >/dev/null
}
narrower() { ravelin_log A | grep -q 'narrower than configured.*mtu=1300'; }

fits_exactly() { # MTU TEXT
  local mtu=$1
  equal "$2: DF and $mtu octets pass" 3 "$(pings hostA "$HOST_B" 3 -M do -s $((mtu - 28)))"
  equal "$2: DF and 1 octet more does not" 0 "$(pings hostA "$HOST_B" 1 -M do -s $((mtu - 27)))"
  at_least "it is counted as too_big" 1 "$(drops_of A too_big)"
  # By now the host has learnt the MTU from the ICMP error and refuses by itself.
  check "the ICMP error said $mtu" learnt_mtu "$mtu"
}
learnt_mtu() { ipn hostA route get "$HOST_B" | grep -q "mtu $1 "; }
finds_mtu() { in_ns hostA timeout 20 tracepath -n "$HOST_B" | tee /dev/stderr | grep -q "pmtu $1"; }
