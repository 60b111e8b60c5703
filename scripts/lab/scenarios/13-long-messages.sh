# Long IKE messages: ML-KEM beside x25519 between two Ravelins; strongSwan, which has none, gets x25519; pieces both ways
# quick
PQ=aes256gcm16-prfsha384-x25519-mlkem768
CLASSICAL=aes256gcm16-prfsha384-x25519
MANY='aes128gcm16 aes128gcm16-esn aes256gcm16 aes256gcm16-esn chacha20poly1305 chacha20poly1305-esn aes128-sha1
  aes128-sha1-esn aes256-sha1 aes256-sha1-esn aes128-sha256 aes128-sha256-esn aes256-sha256 aes256-sha256-esn'

scenario() {
  watch_start
  between_ravelins
  with_strongswan responder
  with_strongswan initiator
  watch_stop
  check_wan
}

between_ravelins() {
  ravelin_config A start=immediately "ike=$PQ $CLASSICAL"
  ravelin_config B start=respond "ike=$PQ $CLASSICAL"
  ravelin_start B
  capture_start
  ravelin_start A
  check "two Ravelins: up on both" both_up
  equal "two Ravelins: the suite has ML-KEM" "$PQ" "$(tunnel_value A ike_suite)"
  equal "two Ravelins: and so says the other" "$PQ" "$(tunnel_value B ike_suite)"
  wait_path hostA "$HOST_B" 5
  equal "two Ravelins: pings" 10 "$(pings hostA "$HOST_B" 10)"
  capture_stop
  # RFC 9242: exchange 43; 1,184 bytes of ML-KEM-768 do not fit into one packet of 1,280.
  at_least "IKE_INTERMEDIATE on the wire, in pieces" 3 "$(seen 'isakmp.exchangetype == 43')"
  equal "no IKE packet is longer than 1280 bytes" 0 "$(seen 'ip.len > 1280')"
  check_conservation A
  ravelin_stop A
  ravelin_stop B
}
both_up() { wait_until 20 tunnel_up A && wait_until 5 tunnel_up B; }

with_strongswan() { # ROLE of strongSwan
  local start=immediately
  [ "$1" = responder ] || start=respond
  ravelin_config A "start=$start" "ike=$PQ $CLASSICAL" "esp=$MANY" fragment=576
  [ "$1" = responder ] || { capture_start; ravelin_start A; }
  # Whatever is longer than 200 bytes leaves strongSwan in pieces (RFC 7383).
  strongswan_start B "role=$1" "ike=$CLASSICAL" 'extra=fragment_size = 200'
  [ "$1" = initiator ] || { capture_start; ravelin_start A; }
  check "strongSwan as $1: the tunnel comes up" wait_until 20 tunnel_up A
  equal "strongSwan as $1: the suite without ML-KEM" "$CLASSICAL" "$(tunnel_value A ike_suite)"
  wait_path hostA "$HOST_B"
  equal "strongSwan as $1: pings" 10 "$(pings hostA "$HOST_B" 10)"
  capture_stop
  equal "strongSwan as $1: no IKE_INTERMEDIATE" 0 "$(seen 'isakmp.exchangetype == 43')"
  at_least "strongSwan as $1: its pieces" 2 "$(seen "ip.src == $OUT_B && isakmp.typepayload == 53")"
  [ "$1" = initiator ] || at_least "our pieces, which it put together" 2 "$(seen "ip.src == $OUT_A && isakmp.typepayload == 53")"
  check_conservation A
  ravelin_stop A
  strongswan_stop B
}

capture_start() {
  rm -f "$LAB/ike.pcap"
  start_process capture wan tcpdump -U -n -i br0 -w "$LAB/ike.pcap" 'udp port 500 or udp port 4500'
  wait_until 5 test -s "$LAB/ike.pcap" || die "the capture on the wan did not start"
}
capture_stop() { wan_settle; stop_process capture; }
seen() { tshark -r "$LAB/ike.pcap" -Y "isakmp && ($1)" 2>/dev/null | wc -l; }
