# A Linux kernel's own ESP and AH (strongSwan in a User-mode Linux guest): plain ESP in each suite, transport mode, AH in
# both modes, over IPv4 and IPv6; AES-GMAC and AES-CTR; each side beginning. Its GRE, in ESP and in clear
. "$LAB_HERE/uml/guest.sh"
. "$LAB_HERE/uml/strongswan.sh"

# long
scenario() {
  local esp
  guest_prerequisites
  # Over the whole time: begun or ended while the guest speaks (ARP probes), its sums would not agree.
  watch_start
  guest_start B
  guest_network B
  for esp in aes128gcm16 aes256gcm16 aes256-sha256 aes128-sha1 chacha20poly1305 aes256gcm16-esn; do kernel_peer "$esp"; done
  for esp in aes128gmac aes256ctr-sha256; do kernel_light "$esp"; done
  AH_WANTED=yes
  kernel_mode transport esp aes128gcm16
  kernel_mode transport ah sha256
  kernel_mode tunnel ah sha1
  kernel_gre_in_esp
  kernel_six
  equal "the other kernel found no fault in any ESP packet" "" "$(guest_xfrm_faults B)"
  watch_stop
  check_wan
  equal "ESP in UDP" 0 "$(wan_count esp_udp)"
  kernel_gre_in_clear
  guest_stop B
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
# Suites with less traffic; what is not encrypted is authentic all the same.
kernel_light() { # ESP
  local text=$1
  guest_strongswan B "esp=$1"
  ravelin_config A start=immediately "esp=$1"
  ravelin_start A
  check "$text: Ravelin begins, up" wait_until 20 tunnel_up A
  equal "$text: the suite" "$1" "$(tunnel_value A suite)"
  wait_path hostA "$HOST_B" 5
  equal "$text: pings" 20 "$(pings hostA "$HOST_B" 20 -s 1000)"
  check "$text: the peer's pings" peer_pings tunnel
  check "$text: Ravelin takes it down" ravelin_do A down net --timeout 10
  check "$text: the peer begins" guest_swanctl B --initiate --child net --timeout 10
  check "$text: up again" wait_until 10 tunnel_up A
  equal "$text: pings" 10 "$(pings hostA "$HOST_B" 10)"
  equal "$text: bad_icv" 0 "$(drops_of A bad_icv)"
  check_conservation A
  ravelin_stop A
}

# R156 R158 R159: the same between gateways that speak IPv6; fragments of either kernel are joined by the other.
kernel_six() {
  six_up
  ipn gwB -6 addr flush dev wan0
  ipn gwB -6 addr flush dev lan0
  guest_network_six B
  six_mode transport esp aes128gcm16
  six_mode transport ah sha256
  six_mode tunnel ah sha256
}
six_mode() { # MODE PROTOCOL PROPOSAL
  local text="$2 $3, $1 mode between IPv6 gateways" file=$LAB/ravelinA/ravelin.toml from=hostA to=$HOST_B back before size
  before=$(wan_settle; wan_count "$2")
  guest_strongswan B outer=6 "mode=$1" "$2=$3"
  ravelin_config A start=immediately outer=6
  sed -i "s/^esp-proposals = .*/$2-proposals = [\"$3\"]/; s/^start = /mode = \"$1\"\n&/" "$file"
  back="in_ns hostB ping -n -q -i 0.05 -W 2 -c 10 -s 1472 -M dont $HOST_A" size=1472
  if [ "$1" = transport ]; then
    sed -i "s|^selectors = .*|selectors = [{ local = \"$OUT6_A\", remote = \"$OUT6_B\" }]|" "$file"
    from=gwA to=$OUT6_B
    # As large as the host sends in one piece.
    size=1452 back="guest_run B 'ping -n -q -i 0.05 -W 2 -c 10 -s 1452 $OUT6_A'"
  else
    sed -i "s/^mode = .*/fragment = \"after\"\n&/" "$file"
  fi
  ravelin_start A
  check "$text: Ravelin begins, up" wait_until 20 tunnel_up A
  wait_path "$from" "$to" 5
  equal "$text: pings" 20 "$(pings "$from" "$to" 20 -s 1000)"
  equal "$text: pings of 1,500 octets, cut after they were protected" 10 "$(pings "$from" "$to" 10 -s $size -M dont)"
  check "$text: the peer's pings of 1,500 octets" eval "$back"
  equal "$text: bad_icv" 0 "$(drops_of A bad_icv)"
  check_conservation A
  ravelin_do A down net --timeout 10 >/dev/null
  ravelin_stop A
  at_least "$text: frames of it" 60 $(($(wan_settle; wan_count "$2") - before))
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

# R240 to R242: the kernel's tunnel of GRE in its own ESP, transport mode, whose selectors hold GRE alone.
kernel_gre_in_esp() {
  local text="GRE in ESP" before
  before=$(wan_settle; wan_count esp)
  guest_gre key 42
  # Its tunnel sets DF outside, and does not foresee ESP.
  guest_run B "ip link set gre1 mtu 1407"
  # What holds back the networks behind it in clear would hold them back in GRE, too; GRE in clear is held back instead.
  guest_run B "ip xfrm policy delete src $NET_B dst 10.0.0.0/8 dir out; ip xfrm policy update src $OUT_B dst $OUT_A proto gre dir out action block priority 4000000000"
  guest_strongswan B mode=transport protocol=gre
  gre_config "{ local = \"$OUT_A\", remote = \"$OUT_B\", protocol = \"gre\" }" immediately 'key = 42
protected-by = "net"'
  ravelin_start A
  check "$text: up" wait_until 20 tunnel_up A
  equal "$text: the tunnel is shown" true "$(ravelin_json A gre | jq -r '.[0].up')"
  gre_carries "$text"
  ipn hostA route flush cache
  equal "$text: the sender learns what fits" "mtu = 1407" "$(in_ns hostA ping -n -c 2 -W 1 -s 1472 -M do "$HOST_B" | grep -o 'mtu = [0-9]*' | head -n 1)"
  ravelin_do A down net >/dev/null
  equal "$text, down: no ping" 0 "$(pings hostA "$HOST_B" 3 -W 1)"
  at_least "$text, down: they were dropped as no_outbound_sa" 3 "$(drops_of A no_outbound_sa)"
  check_conservation A
  ravelin_stop A
  at_least "$text: frames of ESP" 150 $(($(wan_settle; wan_count esp) - before))
}

# R238, R239: with key, checksum and numbers; without a tunnel of IPsec.
kernel_gre_in_clear() {
  local text="GRE in clear" seen
  guest_gre key 7 csum seq
  guest_run B "ip xfrm state flush; ip xfrm policy flush"
  gre_config "{ local = \"10.77.0.0/24\", remote = \"10.78.0.0/24\" }" respond 'key = 7
checksum = true
sequence = true'
  start_process gre wan tcpdump --immediate-mode -i br0 -U -w "$LAB/gre.pcap" "ip proto 47 and (src $OUT_A or src $OUT_B)"
  wait_until 5 test -s "$LAB/gre.pcap"
  ravelin_start A
  wait_until 5 ipn gwA -4 addr show dev gre-a up
  gre_carries "$text"
  for seen in gre_key gre_checksum gre_sequence gre_header gre_length; do equal "$text: $seen" 0 "$(drops_of A $seen)"; done
  equal "$text: the other kernel found no fault" "0 0" "$(guest_run B "ip -j -s link show gre1" | jq -r '.[0].stats64.rx | "\(.errors) \(.dropped)"')"
  guest_gre key 8
  equal "$text, another key: no ping" 0 "$(pings hostA "$HOST_B" 2 -W 1)"
  guest_run B "ping -c 2 -i 0.2 -W 1 172.16.0.1 >/dev/null"
  at_least "$text, another key: gre_key" 2 "$(drops_of A gre_key)"
  sed -i 's/^key = 7/key = 8/; /^checksum = \|^sequence = /d' "$LAB/ravelinA/ravelin.toml"
  ravelin_do A reload >/dev/null
  equal "$text, the key changed by a reload: pings" 10 "$(pings hostA "$HOST_B" 10)"
  ipn gwA route add unreachable "$OUT_B"
  check "$text: without a route it is down" wait_until 5 gre_is false
  check_conservation A
  stop_process gre
  at_least "$text: packets with key, checksum and number, and tcpdump agrees" 100 "$(tcpdump -nvr "$LAB/gre.pcap" 2>/dev/null | grep -c 'GREv0, Flags \[checksum present, key present, sequence# present\]')"
  ravelin_stop A
}
gre_is() { [ "$(ravelin_json A gre | jq -r '.[0].up')" = "$1" ]; }

# guest_gre OPTIONS...: the guest's end, in front of network A
guest_gre() {
  guest_run B "
    PATH=/run:\$PATH
    modprobe ip_gre || exit 1
    ip link del gre1 2>/dev/null
    ip tunnel add gre1 mode gre local $OUT_B remote $OUT_A ttl 64 $*
    ip addr add 172.16.0.2/30 dev gre1
    ip link set gre1 addrgenmode none
    ip link set gre1 up
    ip route replace $NET_A dev gre1" || die "no GRE in the guest"
}

gre_config() { # SELECTOR START KEYS
  ravelin_config A start="$2"
  sed -i "s|^selectors = .*|selectors = [$1]|; s/^start = /mode = \"transport\"\n&/" "$LAB/ravelinA/ravelin.toml"
  [ "$2" = immediately ] || sed -i '/^mode = /d' "$LAB/ravelinA/ravelin.toml"
  cat >>"$LAB/ravelinA/ravelin.toml" <<CONF
[[gre]]
name = "gre-a"
local = "$OUT_A"
remote = "$OUT_B"
addresses = ["172.16.0.1/30"]
routes = ["$NET_B"]
$3
CONF
}

gre_carries() { # TEXT
  wait_path hostA "$HOST_B" 5
  equal "$1: pings" 20 "$(pings hostA "$HOST_B" 20 -s 1000)"
  equal "$1: pings back" 20 "$(pings hostB "$HOST_A" 20)"
  equal "$1: pings of 1,490 octets without DF" 10 "$(pings hostA "$HOST_B" 10 -s 1462 -M dont)"
  equal "$1: and back" 10 "$(pings hostB "$HOST_A" 10 -s 1462 -M dont)"
  equal "$1: the other end of the link" 5 "$(pings gwA 172.16.0.2 5)"
  in_ns gwA sysctl -qw net.ipv4.icmp_echo_ignore_broadcasts=0
  check "$1: multicast of the other kernel" guest_run B "ping -n -q -c 3 -i 0.2 -W 1 -I gre1 224.0.0.1"
  check "$1: TCP both ways" iperf A B -t 1 --bidir
}
