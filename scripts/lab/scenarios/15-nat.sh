# NAT (R47, R115, R116, R117, R120, R121, R138; RFC 7296 §2.23): the kernel's nftables before the initiator, before the responder, before both;
# and new mappings under tunnels that are up: of the initiator, of the responder, of the initiator where both are behind one, with MOBIKE and without
scenario() {
  in_front_of A 20000
  watch_start
  strongswan_start B role=responder
  ravelin_config A start=immediately local=$BEHIND_A
  ravelin_start A
  position "NAT before the initiator"
  equal "the peer sees us at the NAT" "$OUT_A" "$(swanctl_do B --list-sas | sed -n "s/.*remote 'a.lab' @ \([0-9.]*\).*/\1/p" | head -1)"
  ravelin_stop A
  strongswan_stop B

  strongswan_start B role=initiator
  ravelin_config A start=respond local=$BEHIND_A
  ravelin_start A
  position "NAT before the responder"
  ravelin_stop A
  strongswan_stop B

  # Only a gateway that is not behind a NAT itself follows its peer's mapping (RFC 7296 §2.23).
  ravelin_config A start=immediately local=$BEHIND_A
  ravelin_config B start=respond
  ravelin_start B
  ravelin_start A
  position "two Ravelins, NAT before the initiator"
  new_mapping A 30000
  ravelin_stop A
  ravelin_stop B

  ravelin_config A start=respond local=$BEHIND_A
  ravelin_config B start=immediately
  ravelin_start A
  ravelin_start B
  position "two Ravelins, NAT before the responder"
  new_mapping A 31000
  ravelin_stop A
  ravelin_stop B

  # Behind a NAT itself it asks where the peer was before it follows (RFC 7296 §2.23).
  in_front_of B 40000
  ravelin_config A start=immediately local=$BEHIND_A dpd=2s
  ravelin_config B start=respond local=$BEHIND_B dpd=2s
  ravelin_start B
  ravelin_start A
  position "NAT before both, without MOBIKE"
  new_mapping A 33000
  ravelin_stop A
  ravelin_stop B

  # With MOBIKE it is told (RFC 4555 §3.8).
  ravelin_config A start=immediately local=$BEHIND_A dpd=2s more='mobike = true'
  ravelin_config B start=respond local=$BEHIND_B more='mobike = true'
  ravelin_start B
  ravelin_start A
  position "NAT before both"
  sleep 1.2 # the mapping of the beginning is known
  new_mapping A 32000
  check_conservation B
  watch_stop
  equal "no inside address crossed the wan in clear" 0 "$(wan_count clear)"
  equal "plain ESP on the wan" 0 "$(wan_count esp)"
  at_least "ESP in UDP on the wan" 60 "$(wan_count esp_udp)"
}

BEHIND_A=192.168.1.2 BEHIND_B=192.168.2.2

position() { # TEXT
  check "$1: the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  equal "$1: ESP goes in UDP" esp-in-udp "$(tunnel_value A encapsulation)"
  equal "$1: pings" 10 "$(pings hostA "$HOST_B" 10)"
  equal "$1: pings back" 10 "$(pings hostB "$HOST_A" 10)"
  check_conservation A
}

# The NAT forgets (the kernel does, for a device that was down), and gives another port: what is up goes on.
new_mapping() { # SIDE PORT
  local before nat=nat$1 other=A
  [ "$1" = B ] || other=B
  before=$(tunnel_value "$1" ike_spi_local)
  in_ns "$nat" nft flush chain ip nat out
  ports_from "$nat" "$2"
  ipn "$nat" link set out0 down
  sleep 0.5 # the kernel forgets in a work queue of its own
  ipn "$nat" link set out0 up
  check "a new mapping: traffic comes back" wait_until 15 followed "$other" "$2"
  equal "a new mapping: pings" 10 "$(pings hostA "$HOST_B" 10)"
  equal "a new mapping: pings back" 10 "$(pings hostB "$HOST_A" 10)"
  equal "a new mapping: the same IKE SA" "$before" "$(tunnel_value "$1" ike_spi_local)"
}

# followed SIDE PORT: a ping is answered, and that gateway's peer is at one of the ten ports from PORT on, or still at the forwarded
# one, where it was the first to send.
followed() { in_ns hostA ping -n -c 1 -W 1 "$HOST_B" && tunnel_value "$1" remote | grep -qE ":(4500|${2%?}.)\$"; }

# in_front_of SIDE PORT: a router between the gateway and the wan, which has the gateway's address there. What goes out gets
# ports from PORT on; what comes for IKE and ESP in UDP is passed on inside, as a port forwarding does.
in_front_of() {
  local gw=gw$1 nat=nat$1 net out mac
  [ "$1" = A ] && net=192.168.1 out=$OUT_A || net=192.168.2 out=$OUT_B
  make_ns "$nat"
  mac=$(mac_of "$gw" wan0) # the others know the address by it
  ipn "$gw" link del wan0
  make_link "$gw" wan0 "$nat" in0
  make_link "$nat" out0 wan "to$1"
  ipn "$nat" link set out0 address "$mac"
  ipn wan link set "to$1" master br0
  ipn "$gw" addr add "$net.2/24" dev wan0
  ipn "$gw" route replace default via "$net.1"
  ipn "$nat" addr add "$net.1/24" dev in0
  ipn "$nat" addr add "$out/24" dev out0
  in_ns "$nat" sysctl -qw net.ipv4.ip_forward=1
  in_ns "$nat" nft -f - <<NFT
table ip nat {
  chain in {
    type nat hook prerouting priority -100;
    iifname out0 udp dport { 500, 4500 } dnat to $net.2
  }
  chain out {
    type nat hook postrouting priority 100;
  }
}
NFT
  ports_from "$nat" "$2"
}
ports_from() { in_ns "$1" nft add rule ip nat out oifname out0 ip protocol udp masquerade to ":$2-$(($2 + 9))"; }
