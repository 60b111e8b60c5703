# Our address changes under a tunnel that is up (R59; MOBIKE, RFC 4555): traffic with a second Ravelin and with
# strongSwan, which makes its child SAs anew; two uplinks. Redirects (RFC 5685): strongSwan goes where we send it
scenario() {
  in_ns gwA sysctl -qw net.ipv4.conf.all.promote_secondaries=1 net.ipv4.conf.wan0.promote_secondaries=1
  ipn gwA addr add "$OTHER/24" dev wan0
  watch_start
  ravelin_config A start=immediately more="mobike = true
local-backups = [\"$OTHER\"]"
  ravelin_config B start=respond more='mobike = true'
  ravelin_start B
  ravelin_start A
  check "up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  moves "two Ravelins" spis
  check "the peer sends to the new address" wait_until 5 is "$OTHER" tunnel_value B remote
  equal "pings" 20 "$(pings hostA "$HOST_B" 20)"
  equal "pings back" 20 "$(pings hostB "$HOST_A" 20)"
  ipn gwA addr add "$OUT_A/24" dev wan0
  check "back to the first address when it is there again" wait_until 5 is "$OUT_A" tunnel_value A local
  equal "pings" 20 "$(wait_path hostA "$HOST_B" 5; pings hostA "$HOST_B" 20)"
  check_conservation A
  check_conservation B
  ravelin_stop A
  ravelin_stop B
  # strongSwan takes over at that gateway: what Ravelin keeps closed after its end is let go.
  check "gateway B: released" in_ns gwB "$RAVELIN_BIN/ravelin" --run-dir "$(run_dir B)" release

  strongswan_start B role=responder mobike=yes
  ravelin_start A
  check "strongSwan: up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  lists_of_addresses
  moves "strongSwan" ike_spis # it makes its child SAs anew
  check "strongSwan: it was told" wait_until 5 told 'parsed INFORMATIONAL request [0-9]* \[ N(UPD_SA_ADDR)'
  check "strongSwan: it has the new address" wait_until 5 told_address
  equal "strongSwan: pings after the move" 20 "$(wait_path hostA "$HOST_B" 5; pings hostA "$HOST_B" 20)"
  strongswan_stop B
  ipn gwA addr add "$OUT_A/24" dev wan0 2>/dev/null
  redirected init
  redirected auth
  ravelin_stop A
  two_uplinks
  watch_stop
  equal "no inside address crossed the wan in clear" 0 "$(wan_count clear)"
}

OTHER=198.18.0.4 OTHER_B=198.18.0.5

# RFC 4555 §3.6: each side says which other addresses it has as they go and come, without anything else that changes.
lists_of_addresses() {
  local before more
  before=$(ike_spis)
  check "lists: traced" ravelin_do A trace net on
  ipn gwA addr del "$OTHER/24" dev wan0
  check "lists: strongSwan hears that there is no other address" wait_until 5 told 'parsed INFORMATIONAL request [0-9]* \[ N(NO_ADD_ADDR) \]'
  ipn gwA addr add "$OTHER/24" dev wan0
  check "lists: strongSwan hears of another address" wait_until 5 told 'parsed INFORMATIONAL request [0-9]* \[ N(ADD_4_ADDR) \]'
  ipn gwB addr add "$OTHER_B/24" dev wan0
  # Its list has the addresses of all its devices.
  check "lists: strongSwan tells of another address" wait_until 5 listed_more 0
  more=$(listed)
  ipn gwB addr del "$OTHER_B/24" dev wan0
  check "lists: strongSwan tells that it is gone" wait_until 5 listed_is $((more - 1))
  equal "lists: the same IKE SA" "$before" "$(ike_spis)"
  equal "lists: where it was" "$OUT_A $OUT_B" "$(tunnel_value A local | sed 's/:.*//') $(tunnel_value A remote | sed 's/:.*//')"
  equal "lists: pings" 5 "$(pings hostA "$HOST_B" 5)"
}
# How many addresses strongSwan's last list has, in our trace.
listed() { ravelin_log A | grep 'in INFORMATIONAL request.*ADDITIONAL_' | tail -1 | grep -o 'N(ADDITIONAL_IP4_ADDRESS)' | wc -l; }
listed_more() { [ "$(listed)" -gt "$1" ]; }
listed_is() { [ "$(listed)" = "$1" ]; }

# R59: two next hops lead to the peer. IKE and ESP of the tunnel leave by one of them; when its link goes, by the other.
# Which one is a matter of the addresses: these take the second.
two_uplinks() {
  make_link gwA wan1 wan toA2
  ipn gwA addr add 198.19.0.1/24 dev wan1
  ipn wan addr add 198.19.0.254/24 dev toA2
  ipn wan addr add 198.18.0.254/24 dev br0
  in_ns wan sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.toA2.rp_filter=0
  ipn gwA route add "$OUT_B/32" nexthop dev wan0 nexthop via 198.19.0.254 dev wan1
  ravelin_config A start=immediately lifetime=3s "ports=lan0 wan0 wan1"
  ravelin_config B start=respond
  ravelin_start B
  ravelin_start A
  check "two uplinks: up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B" 5
  by_link before
  equal "two uplinks: pings" 40 "$(pings hostA "$HOST_B" 40)"
  wait_until 5 rekeyed 1
  uplinks "two uplinks: all of the tunnel by one" before toA2 toA
  ipn wan link set toA2 down
  wait_path hostA "$HOST_B" 5
  by_link after
  equal "two uplinks: pings after the loss of one" 40 "$(pings hostA "$HOST_B" 40)"
  wait_until 6 rekeyed $(($(tunnel_value A rekeys) + 1))
  uplinks "two uplinks: all of it by the other" after toA toA2
  check_conservation A
  ravelin_stop A
  ravelin_stop B
}
rekeyed() { [ "$(tunnel_value A rekeys)" -ge "$1" ]; }
by_link() { # NAME: what A sends by either
  local link
  for link in toA toA2; do
    start_process "$1.$link" wan tcpdump --immediate-mode -i "$link" -s 60 -U -w "$LAB/$1.$link.pcap" "src host $OUT_A and (ip proto 50 or udp port 500 or udp port 4500)"
    wait_until 5 test -s "$LAB/$1.$link.pcap"
  done
}
uplinks() { # TEXT NAME USED OTHER
  local link
  for link in toA toA2; do stop_process "$2.$link" 2>/dev/null; done
  at_least "$1: ESP" 40 "$(tcpdump -nr "$LAB/$2.$3.pcap" 'ip proto 50' 2>/dev/null | wc -l)"
  at_least "$1: IKE" 1 "$(tcpdump -nr "$LAB/$2.$3.pcap" 'udp' 2>/dev/null | wc -l)"
  equal "$1: none elsewhere" 0 "$(tcpdump -nr "$LAB/$2.$4.pcap" 2>/dev/null | wc -l)"
}

# We are two gateways: the first sends whoever comes to the second.
redirected() { # AT
  ravelin_config A start=respond "more=mobike = false"
  sed -i "s/^local = .*/local = \"$OTHER\"/" "$LAB/ravelinA/ravelin.toml"
  cat >>"$LAB/ravelinA/ravelin.toml" <<CONF
[[tunnel]]
name = "door"
local = "$OUT_A"
remote = "$OUT_B"
local-id = "a.lab"
remote-id = "b.lab"
ike-proposals = ["aes256gcm16-prfsha384-x25519"]
selectors = [{ local = "10.9.1.0/24", remote = "10.9.2.0/24" }]
start = "respond"
redirect-to = "$OTHER"
redirect-at = "$1"
CONF
  check "redirect ($1): reloaded" ravelin_do A reload
  strongswan_start B role=initiator
  check "redirect ($1): strongSwan follows" wait_until 15 told "redirected to $OTHER"
  # strongSwan 5.9.8 dies when it is redirected by IKE_AUTH, after it said so.
  if [ "$1" = init ]; then
    check "redirect ($1): it is up with the second gateway" wait_until 5 tunnel_up A
    equal "redirect ($1): at its address" "$OTHER" "$(tunnel_value A local | sed 's/:.*//')"
    equal "redirect ($1): pings" 5 "$(wait_path hostB "$HOST_A" 5; pings hostB "$HOST_A" 5)"
    strongswan_stop B
  fi
}
is() { local wanted=$1; shift; [ "$("$@" | sed 's/:.*//')" = "$wanted" ]; }
told() { strongswan_log B | grep -q "$1"; }
told_address() { swanctl_do B --list-sas | grep -q "remote 'a.lab' @ $OTHER"; }

moves() { # TEXT WHAT
  local before
  before=$($2)
  ipn gwA addr del "$OUT_A/24" dev wan0
  check "$1: the other address is used" wait_until 5 is "$OTHER" tunnel_value A local
  sleep 0.5
  equal "$1: what is up is the same ($2)" "$before" "$($2)"
}
ike_spis() { echo "$(tunnel_value A ike_spi_local) $(tunnel_value A ike_spi_remote)"; }
spis() { echo "$(ike_spis) $(tunnel_value A spi_in) $(tunnel_value A spi_out)"; }
