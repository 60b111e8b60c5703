# A Linux kernel's own ESP and AH (strongSwan in a User-mode Linux guest): plain ESP in each suite, transport mode, AH in
# both modes, over IPv4 and IPv6; AES-GMAC and AES-CTR; each side beginning. Its GRE, in ESP and in clear. Keys by hand, and AH around ESP
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
  kernel_manual
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
  gre_narrow "$text"
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
# RFC 7588 §3.2: what a router between the ends says is learnt, when it quotes a packet of the tunnel.
gre_narrow() { # TEXT
  router_says 8 600
  router_says 7 1300
  check "$1: a narrower way is learnt, from who quotes the key" wait_until 5 gre_mtu 1264
  ipn hostA route flush cache
  equal "$1: the sender learns what fits" "mtu = 1264" "$(in_ns hostA ping -n -c 2 -W 1 -s 1400 -M do "$HOST_B" | grep -o 'mtu = [0-9]*' | head -n 1)"
  equal "$1: larger pings without DF" 5 "$(pings hostA "$HOST_B" 5 -s 1400 -M dont)"
}
gre_mtu() { [ "$(ravelin_json A gre | jq -r '.[0].mtu')" = "$1" ]; }
router_says() { # KEY MTU
  in_ns wan "$PY" - toA "$(mac_of gwA wan0)" "$OUT_A" "$OUT_B" "$1" "$2" <<'PYTHON'
import sys
from scapy.all import Ether, GRE, ICMP, IP, Raw, conf
dev, mac, us, peer, key, mtu = sys.argv[1:]
ours = IP(src=us, dst=peer, flags="DF", len=1500) / GRE(chksum_present=1, key_present=1, seqnum_present=1, key=int(key)) / Raw(bytes(20))
frame = Ether(dst=mac, src="02:00:00:00:00:99") / IP(src=peer, dst=us) / ICMP(type=3, code=4, nexthopmtu=int(mtu)) / ours
conf.L2socket(iface=dev).send(frame)
PYTHON
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

# R113 R114 R199: SAs with keys by hand, those of `ip xfrm`: ESP alone, and ESP within AH, in both modes; they outlive the control process.
kernel_manual() {
  local mode
  manual_mode tunnel esp "esp = \"aes256-sha256\", esp-spi-in = 0x1001, esp-spi-out = 0x2001"
  for mode in tunnel transport; do
    manual_mode $mode ah "esp = \"aes256-sha256\", esp-spi-in = 0x1001, esp-spi-out = 0x2001, ah = \"sha256\", ah-spi-in = 0x1002, ah-spi-out = 0x2002"
  done
}
manual_mode() { # MODE OUTERMOST KEYS
  local text="by hand, $2 outermost, $1 mode" file=$LAB/ravelinA/ravelin.toml from=hostA to=$HOST_B mine=$NET_A theirs=$NET_B before
  before=$(wan_settle; wan_count "$2")
  [ "$1" = tunnel ] || from=gwA to=$OUT_B mine=$OUT_A/32 theirs=$OUT_B/32
  ravelin_config A
  sed -i '/-id = \|-proposals = \|^start = \|^replay-window = \|^ike-\|lifetime = \|^encapsulation = \|^dpd = /d' "$file"
  sed -i "s|^selectors = .*|mode = \"$1\"\nselectors = [{ local = \"${mine%/32}\", remote = \"${theirs%/32}\" }]\nmanual = { $3 }|" "$file"
  manual_secrets
  manual_guest "$1" "$2" "$mine" "$theirs"
  ravelin_start A
  check "$text: up" wait_until 10 tunnel_up A
  wait_path "$from" "$to" 5
  equal "$text: pings" 20 "$(pings "$from" "$to" 20 -s 1000)"
  check "$text: the peer's pings" peer_pings "$1"
  kill_process controlA
  equal "$text, the control process killed: pings" 10 "$(pings "$from" "$to" 10)"
  ravelin_start_control A
  check "$text: the next one has it" wait_until 10 tunnel_up A
  equal "$text: pings" 10 "$(pings "$from" "$to" 10)"
  at_least "$text: one sequence of numbers" 35 "$(ravelin_json A sas | jq '[.[] | select(.direction == "out") | .sequence] | min')"
  check "$text: down" ravelin_do A down net --timeout 10
  equal "$text, down: no ping" 0 "$(pings "$from" "$to" 2 -W 1)"
  check "$text: up again" ravelin_do A up net --timeout 10
  equal "$text, up again: pings" 10 "$(pings "$from" "$to" 10)"
  equal "$text: bad_icv" 0 "$(drops_of A bad_icv)"
  if [ "$2" = ah ]; then
    # The peer leaves AH out, as somebody does who has learnt one of the keys.
    manual_guest "$1" esp "$mine" "$theirs"
    equal "$text, without AH: no ping" 0 "$(pings "$from" "$to" 2 -W 1)"
    if [ "$1" = tunnel ]; then in_ns hostB ping -c 2 -i 0.2 -W 1 "$HOST_A"; else guest_run B "ping -c 2 -i 0.2 -W 1 $OUT_A"; fi >/dev/null
    at_least "$text, without AH: ah_missing" 2 "$(drops_of A ah_missing)"
  fi
  check_conservation A
  ravelin_stop A
  guest_run B "ip xfrm state flush; ip xfrm policy delete src $theirs dst $mine dir out; ip xfrm policy delete src $mine dst $theirs dir in; ip xfrm policy delete src $mine dst $theirs dir fwd; true"
  at_least "$text: frames of it" 60 $(($(wan_settle; wan_count "$2") - before))
}
manual_key() { printf "$1%.0s" $(seq "$2"); }
manual_secrets() {
  local way
  for way in in:a1 out:b2; do
    printf '[[sa-key]]\nname = "net/esp/%s"\nkey-hex = "%s"\n' ${way%:*} "$(manual_key "${way#*:}" 64)"
    printf '[[sa-key]]\nname = "net/ah/%s"\nkey-hex = "%s"\n' ${way%:*} "$(manual_key "${way#*:}" 32)"
  done >>"$LAB/ravelinA/secrets.toml"
}
# The same keys and SPIs in the other kernel; what is listed first is within what is listed next.
manual_guest() { # MODE OUTERMOST NETWORK-A NETWORK-B
  local ah='' ends="src $OUT_B dst $OUT_A" back="src $OUT_A dst $OUT_B" state='ip xfrm state add' hash='hmac(sha256)'
  [ "$2" = esp ] || ah="tmpl proto ah mode transport"
  guest_run B "
    ip xfrm state flush
    $state $ends proto esp spi 0x1001 mode $1 enc 'cbc(aes)' 0x$(manual_key a1 32) auth-trunc '$hash' 0x$(manual_key a1 32) 128
    $state $back proto esp spi 0x2001 mode $1 enc 'cbc(aes)' 0x$(manual_key b2 32) auth-trunc '$hash' 0x$(manual_key b2 32) 128
    $state $ends proto ah spi 0x1002 mode transport flag align4 auth-trunc '$hash' 0x$(manual_key a1 32) 128
    $state $back proto ah spi 0x2002 mode transport flag align4 auth-trunc '$hash' 0x$(manual_key b2 32) 128
    ip xfrm policy update src $4 dst $3 dir out priority 100 tmpl $ends proto esp mode $1 $ah || exit 1
    for dir in in fwd; do ip xfrm policy update src $3 dst $4 dir \$dir priority 100 tmpl $back proto esp mode $1 $ah || exit 1; done" || die "no SAs by hand in the guest"
}
