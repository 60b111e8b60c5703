# Two Ravelins: plain ESP in each suite, ESP in UDP where it is asked for; IPv4 and IPv6 in either family; keys by x25519 with ML-KEM-768, in rekeys too; session resumption; start on traffic; numbers near their end; a child SA for each worker; crypto of one SA by two workers; a worker that fails
# quick
# long
scenario() {
  local esp
  for esp in aes128gcm16 aes256gcm16 aes128-sha1; do pair "$esp" auto; done
  six_up
  pair aes256-sha256 auto 4 '4 6'
  pair chacha20poly1305 auto 6 '6 4'
  pair aes128gcm16 udp 6 '4 6'
  cold
  multipath
  worn aes128gcm16 3221225272 1 "a rekey with a quarter of the numbers left"
  worn aes128gcm16-esn 4294967095 0 "extended numbers cross 2^32"
  second_exchanges
  resumption
  per_worker
  shared_crypto
}

# R97, R98, R111: ESP in UDP 4565, from a source port of each flow; both ways of a path with ECMP would be used. R94 beside it.
multipath() {
  local more='udp-encapsulate = true
fragment = "after"
no-tunnel-in-traceroute = true' ports
  watch_start
  ravelin_config A start=immediately "more=$more"
  ravelin_config B start=respond "more=$more"
  sed -i 's/^tun = .*/&\nudp-encapsulation-port = 4565/' "$LAB/ravelinA/ravelin.toml" "$LAB/ravelinB/ravelin.toml"
  ravelin_start B
  ravelin_start A
  check "multipath: up on both" both_up
  wait_path hostA "$HOST_B" 5
  start_process ports wan tcpdump -i br0 -s 60 -U -w "$LAB/ports.pcap" "udp dst port 4565 and src host $OUT_A"
  wait_until 5 test -s "$LAB/ports.pcap"
  flow_start one A B 1 300
  flow_start two A B 1 300
  flow_start three A B 1 300
  for flow in one two three; do check_flow "$flow" "multipath: flow $flow"; done
  equal "multipath: pings" 10 "$(pings hostA "$HOST_B" 10)"
  equal "multipath: pings of 1,500 octets, cut after they were encrypted" 10 "$(pings hostA "$HOST_B" 10 -s 1472 -M dont)"
  wan_settle
  stop_process ports
  ports=$(tcpdump -nr "$LAB/ports.pcap" 2>/dev/null | sed 's/ > .*//; s/.*\.//' | sort | uniq -c | awk '$1 >= 10' | wc -l)
  at_least "multipath: source ports on the wire, one for each flow" 3 "$ports"
  equal "no tunnel in traceroute: a TTL of 1 arrives" 1 "$(pings hostA "$HOST_B" 1 -t 1)"
  check_conservation A
  check_conservation B
  ravelin_stop A
  ravelin_stop B
  watch_stop
  check_wan
  at_least "multipath: frames of ESP in UDP" 900 "$(wan_count esp_udp)"
  equal "multipath: frames of plain ESP" 0 "$(wan_count esp)"
}

# R124, R302: sequence numbers near where something happens to them. A has so many behind it already; nothing is lost.
worn() { # ESP NUMBERS REKEYS TEXT
  watch_start
  ravelin_config A start=immediately "esp=$1"
  ravelin_config B start=respond "esp=$1"
  ravelin_start B
  ravelin_start A --lab-first-sequence "$2"
  check "$4: up on both" both_up
  wait_path hostA "$HOST_B" 5
  numbers_start
  flow_start worn A B 2 400
  check_flow worn "$4"
  numbers_check "$4" 800
  equal "$4: rekeys" "$3" "$(tunnel_value A rekeys)"
  equal "$4: dropped for want of a number" 0 "$(drops_of A sequence_exhausted)"
  check_conservation A
  check_conservation B
  ravelin_stop A
  ravelin_stop B
  watch_stop
  check_wan
}

# R172: the packet that brings the tunnel up waits for it.
cold() {
  watch_start
  ravelin_config A start=on-traffic
  ravelin_config B start=respond
  child A 10.9.1.0/24 10.9.2.0/24
  child B 10.9.2.0/24 10.9.1.0/24
  ravelin_start B
  ravelin_start A
  in_ns gwB ping -n -c 1 -W 2 "$HOST_B" >/dev/null # or its answer waits for ARP
  in_ns gwB ping -n -c 1 -W 2 10.9.2.10 >/dev/null
  equal "start on traffic: nothing is sent before there is traffic" 0 "$(wan_settle; wan_count ike)"
  equal "start on traffic: the first ping is answered" 1 "$(pings hostA "$HOST_B" 1)"
  at_least "start on traffic: it waited" 1 "$(ravelin_json A workers | jq '[.[].counters.held] | add')"
  equal "start on traffic: and so are the next" 10 "$(pings hostA "$HOST_B" 10)"
  # RFC 7296 §1.3.1: a further child SA under the same IKE SA, with selectors that only ICMP fits.
  equal "further child: its first ping is answered too" 1 "$(other_pings 1)"
  equal "further child: and so are the next" 10 "$(other_pings 10)"
  equal "further child: one IKE SA" 1 "$(ravelin_json A tunnels | jq -r '.[].ike_spi_local' | sort -u | wc -l)"
  equal "further child: SPIs of its own" 4 "$(ravelin_json A tunnels | jq -r '.[] | .spi_in, .spi_out' | sort -u | wc -l)"
  equal "further child: extended sequence numbers" true "$(ravelin_json B sas | jq '[.[] | select(.tunnel == "net/other") | .esn] | all')"
  equal "start on traffic: nothing was dropped for want of an SA" 0 \
    "$(($(drops_of A no_outbound_sa) + $(drops_of A hold_expired) + $(drops_of A hold_full)))"
  check_conservation A
  check_conservation B
  ravelin_stop A
  ravelin_stop B
  watch_stop
  check_wan
}

pair() { # ESP ENCAPSULATION [OUTER INNER]
  local text="$1, encapsulation $2" esp other outer=${3:-4} inner=${4:-4}
  [ $# = 2 ] || text="$text, IPv${inner// / and IPv} in IPv$outer"
  [ "$2" = udp ] && esp=esp_udp other=esp || esp=esp other=esp_udp
  watch_start
  # The only proposal: without ML-KEM there is no tunnel.
  local ike=aes256gcm16-prfsha384-x25519-mlkem768
  # R158: in UDP what is too large is cut after it was encrypted; the later fragments say no port.
  local more=
  [ "$2" = auto ] || more='fragment = "after"'
  ravelin_config A start=immediately "ike=$ike" "esp=$1" "encapsulation=$2" "outer=$outer" "inner=$inner" "more=$more"
  ravelin_config B start=respond "ike=$ike" "esp=$1" "encapsulation=$2" "outer=$outer" "inner=$inner" "more=$more"
  ravelin_start B
  ravelin_start A
  check "$text: up on both" both_up
  wait_path hostA "$HOST_B" 5
  equal "$text: pings" 20 "$(pings hostA "$HOST_B" 20 -s 1000)"
  equal "$text: pings back" 20 "$(pings hostB "$HOST_A" 20)"
  equal "$text: inside address of the other gateway" 5 "$(pings hostA "$IN_B" 5)"
  if [ "$2" != auto ]; then
    equal "$text: pings of 1,500 octets, cut after they were encrypted" 10 "$(pings hostA "$HOST_B" 10 -s 1472 -M dont)"
    equal "$text: and back" 10 "$(pings hostB "$HOST_A" 10 -s 1472 -M dont)"
    at_least "$text: fragments in UDP" 30 "$(wan_settle; wan_count udp_part)"
  fi
  [ "$inner" = 4 ] || six_inside "$text"
  check_conservation A
  check_conservation B
  ravelin_stop A
  ravelin_stop B
  watch_stop
  check_wan
  at_least "$text: frames of $esp" 80 "$(wan_count $esp)"
  equal "$text: frames of $other" 0 "$(wan_count $other)"
}
six_inside() {
  wait_path hostA "$HOST6_B" 5
  equal "$1: IPv6 pings" 20 "$(pings hostA "$HOST6_B" 20 -s 1000)"
  equal "$1: IPv6 pings back" 20 "$(pings hostB "$HOST6_A" 20)"
  equal "$1: inside address of the other gateway, IPv6" 5 "$(pings hostA "$IN6_B" 5)"
  equal "$1: the gateway itself, from its inside address, IPv6" 5 "$(pings gwA "$HOST6_B" 5 -I "$IN6_A")"
  # Larger than the tunnel takes: the host learns the MTU, and sends fragments of its own.
  wait_until 3 in_ns hostA ping -n -c 1 -W 1 -s 1452 "$HOST6_B"
  equal "$1: IPv6 pings of 1,500 bytes, once the MTU is known" 5 "$(pings hostA "$HOST6_B" 5 -s 1452)"
}

# RFC 9611: two workers at either gateway, and each has a pair of its own; also after a rekey and a kill -9 of a control process.
per_worker() {
  local end before
  for end in hostA:eth0 gwA:lan0 gwA:wan0 wan:toA wan:toB gwB:wan0 gwB:lan0 hostB:eth0; do
    in_ns "${end%:*}" ethtool -L "${end#*:}" rx 2 tx 2 || die "two queues at $end"
  done
  watch_start
  ravelin_config A start=immediately cores=0,1 lifetime=4s more='per-worker = true'
  ravelin_config B start=respond cores=0,1 more='per-worker = true'
  ravelin_start B
  ravelin_start A
  check "per worker: up on both" both_up
  check "per worker: each worker of A sends by an SA of its own" wait_until 5 own_sas A 2
  check "per worker: each worker of B sends by an SA of its own" wait_until 5 own_sas B 2
  equal "per worker: two pairs and one IKE SA" "4 1" "$(ravelin_json A sas | jq length) $(ravelin_json A tunnels | jq length)"
  wait_path hostA "$HOST_B" 5
  numbers_start
  flow_start ab A B 5 1000
  flow_start ba B A 5 1000
  before=$(own_spis)
  check "per worker: both SAs of A carried packets" wait_until 8 carried A
  check "per worker: both SAs of B carried packets" wait_until 8 carried B
  check "per worker: after a rekey too" wait_until 6 renewed "$before"
  before=$(tunnel_value A ike_spi_local)
  signal_process controlA KILL
  ravelin_start_control A
  check_flow ab "per worker: hostA to hostB, across rekeys and kill -9"
  check_flow ba "per worker: hostB to hostA, across rekeys and kill -9"
  equal "per worker: the next control process goes on with the same IKE SA" "$before" "$(tunnel_value A ike_spi_local)"
  check "per worker: and with an SA for each worker" own_sas A 2
  thread_ends
  numbers_check "per worker" 10000
  equal "per worker: replays" 0 "$(($(drops_of A replay_dup) + $(drops_of B replay_dup) + $(drops_of A replay_old) + $(drops_of B replay_old)))"
  check_conservation A
  check_conservation B
  ravelin_stop A
  ravelin_stop B

  # A peer with one worker, which does not ask for more: one pair serves both workers.
  ravelin_config B start=respond
  ravelin_start B
  ravelin_start A
  check "per worker: with a peer that wants one SA, up on both" both_up
  many_flows
  check "per worker: one pair" wait_until 5 one_pair
  check_conservation A
  ravelin_stop A
  ravelin_stop B
  watch_stop
  check_wan
}
# RFC 9370 §2.2.4: rekeys of both kinds, of both sides and crossing, with ML-KEM or not at all. Their second exchange is seen
# on the wire: IKE_FOLLOWUP_KE is exchange 44.
second_exchanges() {
  local ike=aes256gcm16-prfsha384-x25519-mlkem768 esp=aes256gcm16-x25519-mlkem768 before seen
  watch_start
  ravelin_config A start=immediately "ike=$ike" "esp=$esp" lifetime=2s ike_lifetime=5s more='rekey-jitter = 0'
  ravelin_config B start=respond "ike=$ike" "esp=$esp" lifetime=2s ike_lifetime=5s more='rekey-jitter = 0'
  ravelin_start B
  ravelin_start A
  check "ML-KEM in rekeys: up on both" both_up
  wait_path hostA "$HOST_B" 5
  before=$(tunnel_value A ike_spi_local)
  start_process followups wan tcpdump -i br0 -s 80 -U -w "$LAB/followups.pcap" 'udp[26] = 44 or udp[30] = 44'
  wait_until 5 test -s "$LAB/followups.pcap"
  numbers_start
  flow_start ab A B 8 500
  flow_start ba B A 8 500
  check_flow ab "ML-KEM in rekeys: hostA to hostB"
  check_flow ba "ML-KEM in rekeys: hostB to hostA"
  numbers_check "ML-KEM in rekeys" 8000
  at_least "ML-KEM in rekeys: child rekeys" 3 "$(tunnel_value A rekeys)"
  check "ML-KEM in rekeys: the IKE SA is another one" not [ "$(tunnel_value A ike_spi_local)" = "$before" ]
  equal "ML-KEM in rekeys: no weaker than the first" "$ike $esp" "$(tunnel_value B ike_suite) $(tunnel_value B suite)"
  stop_process followups
  seen=$(tshark -r "$LAB/followups.pcap" -T fields -e isakmp.exchangetype 2>/dev/null | grep -c '^44')
  at_least "ML-KEM in rekeys: messages of IKE_FOLLOWUP_KE on the wire, says tshark" 8 "$seen"
  check_conservation A
  check_conservation B
  ravelin_stop A
  ravelin_stop B
  watch_stop
  check_wan
}

# RFC 5723: IKE is cut off until both sides have given up; then the IKE SA comes back by a ticket. Nobody else speaks this
# protocol, but tshark can read it, what is encrypted in it too.
resumption() {
  local side more='session-resumption = true
retransmissions = 1' seen
  watch_start
  ravelin_config A start=immediately dpd=1s "more=$more"
  ravelin_config B start=respond dpd=1s "more=$more"
  start_process tickets wan tcpdump -i br0 -s 0 -U --immediate-mode -w "$LAB/tickets.pcap" 'udp port 500'
  wait_until 5 test -s "$LAB/tickets.pcap"
  ravelin_start B
  ravelin_start A --lab-key-log "$LAB/resumed.keys" --all-traffic-may-be-read
  check "resumption: up on both" both_up
  at_least "resumption: seconds that the ticket is good for" 3500 "$(tunnel_value A ike_ticket_for_s)"
  in_ns gwB nft 'add table ip cut; add chain ip cut in { type filter hook input priority 0; }; add rule ip cut in udp dport 500 drop'
  check "resumption: both gave up" wait_until 10 both_down
  in_ns gwB nft delete table ip cut
  check "resumption: up again" both_up
  equal "resumption: by a ticket, at both ends" "true true" "$(tunnel_value A ike_resumed) $(tunnel_value B ike_resumed)"
  wait_path hostA "$HOST_B" 5
  equal "resumption: pings" 5 "$(pings hostA "$HOST_B" 5)"
  wan_settle
  stop_process tickets
  seen=$(tickets_say -Y 'isakmp.exchangetype == 38 && isakmp.flag_r == 1' -T fields -e isakmp.ispi | head -1)
  check "resumption: tshark sees a ticket where IKE_SA_INIT would stand" [ -n "$seen" ]
  equal "resumption: and after it IKE_AUTH by a shared key, without certificates" "35 2" \
    "$(tickets_say -Y "isakmp.ispi == $seen && isakmp.flag_r == 1 && isakmp.auth.method" -T fields -e isakmp.exchangetype -e isakmp.auth.method | tr '\t' ' ')"
  at_least "resumption: tickets that it reads in IKE_AUTH" 2 \
    "$(tickets_say -Y 'isakmp.notify.msgtype == 16409 && isakmp.exchangetype == 35' -T fields -e isakmp.ispi | wc -l)"
  for side in A B; do
    check_conservation $side
    ravelin_stop $side
  done
  watch_stop
  check_wan
}
both_down() { not tunnel_up A && not tunnel_up B; }
tickets_say() { # ARGUMENTS...: tshark, with the keys of both IKE SAs
  local line
  set -- -r "$LAB/tickets.pcap" "$@"
  while read -r line; do set -- "$@" -o "uat:ikev2_decryption_table:$line"; done <"$LAB/resumed.keys"
  tshark "$@" 2>/dev/null
}

# R301: one SA pair, whose packets come in bursts, and the crypto of both workers; across rekeys. Two queues as above.
shared_crypto() {
  local side
  watch_start
  ravelin_config A start=immediately cores=0,1 lifetime=3s more='shared-crypto = true'
  ravelin_config B start=respond cores=0,1 more='shared-crypto = true'
  ravelin_start B
  ravelin_start A
  check "shared crypto: up on both" both_up
  wait_path hostA "$HOST_B" 5
  check "shared crypto: one pair" wait_until 5 one_pair
  numbers_start
  flow_start shared A B 4 10000 200 1000
  check_flow shared "shared crypto: bursts, across rekeys"
  equal "shared crypto: reordered" 0 "$(flow_value shared reordered)"
  worker_fails
  numbers_check "shared crypto" 40000
  for side in A B; do
    at_least "shared crypto: packets of $side whose crypto was shared" 1000 "$(worker_sum $side lent)"
    at_least "shared crypto: packets of $side that the other worker did" 1 "$(worker_sum $side helped)"
    equal "shared crypto: replays and losses of $side" 0 "$(($(drops_of $side replay_dup) + $(drops_of $side replay_old) + $(drops_of $side helper_lost) + $(drops_of $side helpers_busy)))"
    check_conservation $side
  done
  at_least "shared crypto: rekeys" 1 "$(tunnel_value A rekeys)"
  ravelin_stop A
  ravelin_stop B
  watch_stop
  check_wan
}

# R74: a worker that panics, and one that stands still, amid a batch: of the flow only what is counted is lost.
worker_fails() {
  local before
  before=$(tunnel_value A ike_spi_local)
  flow_start failing A B 5 300
  signal_process dataplaneA USR1
  check "a worker fails: it goes on" wait_until 5 counted failures
  at_least "a worker fails: packets in its hands" 1 "$(drops_of A worker_failed)"
  signal_process dataplaneA USR2
  check "a worker stands still: it is moved" wait_until 8 counted stalls
  flow_wait failing 20
  equal "a worker fails, and stands still: the flow ends" true "$(flow_value failing end_seen)"
  equal "a worker fails, and stands still: lost and not counted, twice" "0 0" \
    "$(($(flow_value failing lost) > $(drops_of A worker_failed))) $(flow_value failing duplicates)"
  equal "a worker fails, and stands still: the same IKE SA" "$before" "$(tunnel_value A ike_spi_local)"
  equal "a worker fails, and stands still: pings" 20 "$(pings hostA "$HOST_B" 20)"
}
counted() { many_flows; [ "$(worker_sum A "$1")" = "${2:-1}" ]; } # whichever queue its packets come by

# R74: the thread of worker 1 ends, since it fails repeatedly: its SAs, with their numbers and windows, move to the thread of worker
# 0; what is lost is counted. That no number was used twice is looked at in the end.
thread_ends() {
  local before n
  before=$(tunnel_value A ike_spi_local)
  equal "a thread ends: before, each worker has its own" "0 1" "$(worker_map)"
  flow_start ended A B 5 300
  for n in 1 2 3; do
    signal_process dataplaneA USR1
    check "a thread ends: failure $n" wait_until 5 counted failures "$n"
  done
  check "a thread ends: its worker moves" wait_until 5 counted moves
  equal "a thread ends: one serves both workers" "0 0" "$(worker_map)"
  equal "a thread ends: each worker has SAs as before" true "$(ravelin_json A workers | jq 'all(.[]; .sas_in > 0 and .sas_out > 0)')"
  n=$(moved_sealed)
  check "a thread ends: its SAs go on" wait_until 5 moved_seals "$n"
  flow_wait ended 20
  equal "a thread ends: the flow goes on to its end" true "$(flow_value ended end_seen)"
  equal "a thread ends: lost and not counted, twice" "0 0" \
    "$(($(flow_value ended lost) > $(drops_of A worker_failed))) $(flow_value ended duplicates)"
  equal "a thread ends: the same IKE SA" "$before" "$(tunnel_value A ike_spi_local)"
  equal "a thread ends: pings" 20 "$(pings hostA "$HOST_B" 20)"
}
worker_map() { ravelin_json A workers | jq -r '[.[] | .thread] | join(" ")'; }
moved_sealed() { ravelin_json A workers | jq '.[1].counters.encrypted'; }
moved_seals() { many_flows; [ "$(moved_sealed)" -gt "$1" ]; }
one_pair() { [ "$(ravelin_json A sas | jq length)" = 2 ]; }
own_sas() { [ "$(ravelin_json "$1" sas | jq '[.[] | select(.direction == "out" and .state == "in-use") | .worker] | unique | length')" = "$2" ]; }
own_spis() { ravelin_json A sas | jq -r '[.[] | select(.direction == "out" and .state == "in-use") | "\(.worker) \(.spi)"] | sort | join(" ")'; }
renewed() { own_sas A 2 && own_sas B 2 && [ "$(own_spis)" != "$1" ]; }
# Each SA lives for seconds, and its count is a second old: new packets each time it is asked.
carried() { many_flows; [ "$(ravelin_json "$1" sas | jq '[.[] | select(.direction == "out" and .packets > 0) | .worker] | unique | length')" = 2 ]; }
# Of so many flows each queue gets some.
many_flows() { local p; for p in {1..64}; do in_ns hostA bash -c "echo >/dev/udp/$HOST_B/$((30000 + p))"; in_ns hostB bash -c "echo >/dev/udp/$HOST_A/$((30000 + p))"; done; sleep 0.5; }

child() { # SIDE LOCAL REMOTE: below the tunnel `net`; either kind of numbers will do, and there is a key exchange
  local ping
  ping="local = \"$2\", remote = \"$3\", protocol = \"icmp\", icmp"
  cat >>"$LAB/ravelin$1/ravelin.toml" <<CONF
[[tunnel.child]]
name = "other"
esp-proposals = ["aes256gcm16-esn-noesn"]
pfs = "required"
selectors = [{ $ping = "8" }, { $ping = "0" }]
CONF
}
other_pings() { in_ns hostA ping -n -i 0.05 -W 2 -c "$1" -I 10.9.1.10 10.9.2.10 2>/dev/null | sed -n 's/.* \([0-9]*\) received.*/\1/p'; }
both_up() { wait_until 20 tunnel_up A && wait_until 5 tunnel_up B; }
