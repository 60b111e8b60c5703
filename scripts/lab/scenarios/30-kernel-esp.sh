# A Linux kernel's own ESP and AH (strongSwan in a User-mode Linux guest): plain ESP in each suite, transport mode, AH in
# both modes; each side beginning
. "$LAB_HERE/uml/guest.sh"
. "$LAB_HERE/uml/strongswan.sh"

scenario() {
  local esp
  guest_prerequisites
  # Over the whole time: begun or ended while the guest speaks (ARP probes), its sums would not agree.
  watch_start
  guest_start B
  guest_network B
  for esp in aes128gcm16 aes256gcm16 aes256-sha256 aes128-sha1 chacha20poly1305 aes256gcm16-esn; do kernel_peer "$esp"; done
  AH_WANTED=yes
  kernel_mode transport esp aes128gcm16
  kernel_mode transport ah sha256
  kernel_mode tunnel ah sha1
  equal "the other kernel found no fault in any ESP packet" "" "$(guest_xfrm_faults B)"
  guest_stop B
  watch_stop
  check_wan
  equal "ESP in UDP" 0 "$(wan_count esp_udp)"
}

# R156 R158 R159: between the gateways themselves in transport mode; what is too large is cut after it was protected, and
# joined before it is opened, both ways.
kernel_mode() { # MODE PROTOCOL PROPOSAL
  local text="$2 $3, $1 mode" file=$LAB/ravelinA/ravelin.toml before from=hostA to=$HOST_B
  before=$(wan_settle; wan_count "$2")
  guest_strongswan B "mode=$1" "$2=$3"
  ravelin_config A start=immediately
  sed -i "s/^esp-proposals = .*/$2-proposals = [\"$3\"]/; s/^start = /mode = \"$1\"\n&/" "$file"
  if [ "$1" = transport ]; then
    sed -i "s|^selectors = .*|selectors = [{ local = \"$OUT_A\", remote = \"$OUT_B\" }]|" "$file"
    from=gwA to=$OUT_B
  fi
  ravelin_start A
  check "$text: Ravelin begins, up" wait_until 20 tunnel_up A
  wait_path "$from" "$to" 5
  equal "$text: pings" 20 "$(pings "$from" "$to" 20 -s 1000)"
  equal "$text: pings of 1,490 octets without DF" 10 "$(pings "$from" "$to" 10 -s 1462 -M dont)"
  check "$text: the peer's pings" peer_pings "$1"
  check "$text: Ravelin takes it down" ravelin_do A down net --timeout 10
  check "$text: the peer begins" guest_swanctl B --initiate --child net --timeout 10
  check "$text: up again" wait_until 10 tunnel_up A
  equal "$text: pings" 10 "$(pings "$from" "$to" 10)"
  equal "$text: bad_icv" 0 "$(drops_of A bad_icv)"
  check_conservation A
  ravelin_stop A
  at_least "$text: frames of it" 100 $(($(wan_settle; wan_count "$2") - before))
}
peer_pings() { # MODE
  local ping="ping -n -q -i 0.05 -W 2 -c 10 -s 1462 -M dont"
  if [ "$1" = transport ]; then guest_run B "$ping $OUT_A"; else in_ns hostB $ping "$HOST_A"; fi
}

kernel_peer() { # ESP
  local text=$1 before
  before=$(wan_count esp)
  guest_strongswan B "esp=$1"
  ravelin_config A start=immediately "esp=$1"
  ravelin_start A
  check "$text: Ravelin begins, up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B" 5
  flow_start ab A B 2 500 1000
  flow_start ba B A 2 500
  equal "$text: pings" 20 "$(pings hostA "$HOST_B" 20 -s 1000)"
  equal "$text: pings back" 20 "$(pings hostB "$HOST_A" 20)"
  check_flow ab "$text: datagrams hostA to hostB"
  check_flow ba "$text: datagrams hostB to hostA"
  check "$text: TCP both ways" iperf A B -t 1 --bidir
  check "$text: Ravelin takes it down" ravelin_do A down net --timeout 10
  check "$text: the peer begins" guest_swanctl B --initiate --child net --timeout 10
  check "$text: up again" wait_until 10 tunnel_up A
  equal "$text: pings" 10 "$(pings hostA "$HOST_B" 10)"
  equal "$text: pings back" 10 "$(pings hostB "$HOST_A" 10)"
  equal "$text: encapsulation" esp "$(tunnel_value A encapsulation)"
  equal "$text: bad_icv" 0 "$(drops_of A bad_icv)"
  check_conservation A
  ravelin_stop A
  wan_settle
  at_least "$text: frames of IP protocol 50" 1000 $(($(wan_count esp) - before))
}
