# explain says what happens and changes nothing; capture and trace show packets at each stage, and cost no packet
# alone
# quick
#
# R13 R50 R51 R52 R198 R303 R304: between two Ravelins; tshark reads what capture writes.
scenario() {
  watch_start
  ravelin_config A start=immediately
  ravelin_config B start=respond
  ravelin_start B
  ravelin_start A
  check "the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  asked
  seen
  followed
  unread
  check_conservation A
  watch_stop
  check_wan
}

explain() { ravelin_do A explain "$@"; }
said() { jq -r "$1" "$LAB/said"; } # FILTER: of the last answer

asked() {
  local before line
  sleep 0.3 # what the ping left is at rest
  before=$(untouched)
  explain --in lan0 --from "$HOST_A" --to "$HOST_B" --proto tcp --sport 1234 --dport 443 --json >"$LAB/said"
  equal "explain: out by the tunnel" "to-worker protected protect forward wan0" \
    "$(said '"\(.xdp.steer) \(.xdp.class) \(.steps[0].goes.action) \(.verdict.is) \(.ports[.verdict.port])"')"
  equal "by the SA in use" "$(tunnel_value A spi_out)" "$(printf %08x "$(said .steps[0].protects.spi)")"
  line=$(said .steps[0].goes.line)
  check "the policy is named by its line of the configuration" grep -q selectors <<<"$(sed -n "${line}p" "$LAB/ravelinA/ravelin.toml")"
  explain --in wan0 --from "$HOST_B" --to "$HOST_A" >"$LAB/text"
  check "what comes in clear from behind the peer is dropped, and explain says what to do" \
    sh -c "grep -q 'dropped: plain_on_protected' '$LAB/text' && grep -q '  cure ' '$LAB/text'"
  explain --in wan0 --from "$OUT_B" --to "$OUT_A" --proto esp --spi "0x$(tunnel_value A spi_in)" >"$LAB/text"
  check "ESP by its SPI: the SA and its tunnel" grep -q "0x$(tunnel_value A spi_in) of tunnel net" "$LAB/text"
  explain --in wan0 --from "$OUT_B" --to "$OUT_A" --proto udp --dport 500 --json >"$LAB/said"
  equal "IKE is the kernel's" "pass passed" "$(said '"\(.xdp.steer) \(.verdict.is)"')"
  explain --in lan0 --from "$HOST_A" --to "$HOST_B" --size 1500 --df --json >"$LAB/said"
  equal "a hundred questions touched neither counters nor SAs" "$before" "$(hundred_questions; untouched)"
  equal "too large with DF: explain names the MTU of the real ICMP error" "$(said '"\(.verdict.reason) \(.steps[0].size.limit)"')" \
    "too_big $(in_ns hostA ping -n -M do -c 1 -s 1472 "$HOST_B" 2>&1 | sed -n 's/.*mtu *= *\([0-9]*\).*/\1/p' | head -n 1)"
  check "explain tunnel" grep -q 'tunnel net: up' <<<"$(explain tunnel net)"
  equal "pings after all that" 10 "$(pings hostA "$HOST_B" 10)"
}
hundred_questions() { # of a capture file, which is what capture writes
  ravelin_do A capture -w "$LAB/twice.pcapng" --stage rx --in wan0 --proto esp --count 100 --seconds 4 2>/dev/null &
  local capture=$!
  sleep 0.3
  in_ns hostA ping -q -n -i 0.01 -c 110 "$HOST_B" >/dev/null
  wait $capture
  explain --in wan0 --pcap "$LAB/twice.pcapng" --json >"$LAB/replayed"
}
# What questions could have done, less the packets of the pings beside them.
untouched() {
  ravelin_json A drops | jq -c '.total | map_values(select(. > 0))'
  ravelin_json A sas | jq -c '[.[] | .replay_drops, .icv_drops, .selector_drops]'
}

seen() {
  equal "each packet of a capture asked about again is a replay" "100 replay_dup" \
    "$(jq -r '"\(length) \([.[].verdict.reason] | unique | join(","))"' "$LAB/replayed")"
  ravelin_do A capture -w "$LAB/seen.pcapng" --host "$HOST_B" --seconds 2 2>"$LAB/captured" &
  local capture=$!
  sleep 0.3
  pings hostA "$HOST_B" 5 >/dev/null
  wait $capture
  equal "only its owner may read the file" 600 "$(stat -c %a "$LAB/seen.pcapng")"
  comments "$LAB/seen.pcapng" >"$LAB/comments"
  equal "stages of an echo request, all under one number" "rx policy pre-encrypt tx" "$(stages_of "in lan0")"
  equal "and of its answer" "rx decrypted policy tx" "$(stages_of "in wan0")"
  check "the comment has SPI, number, tunnel and port" \
    grep -Eq "at tx, .*esp spi=0x$(tunnel_value A spi_out) seq=[0-9]+ sa=[0-9]+ tunnel=net, forward out wan0" "$LAB/comments"
  equal "numbers in the comments are those on the wire" "$(numbers esp.sequence)" "$(numbers frame.comment)"
  equal "through a pipe" 4 "$(piped)"
}
comments() { tshark -r "$1" -T fields -e frame.comment 2>/dev/null; }
stages_of() { # DOOR: the stages of the first packet that came by it
  local id
  id=$(sed -n "s/^packet \([0-9.]*\) at rx, .*$1.*/\1/p" "$LAB/comments" | head -n 1)
  sed -n "s/^packet $id at \([a-z-]*\),.*/\1/p" "$LAB/comments" | xargs
}
numbers() { # FIELD: of ESP that left
  tshark -r "$LAB/seen.pcapng" -Y 'esp && frame.comment contains "at tx"' -T fields -e "$1" 2>/dev/null | sed 's/.*seq=\([0-9]*\).*/\1/' | xargs
}
piped() {
  (sleep 0.3; in_ns hostA ping -q -n -c 4 -i 0.1 "$HOST_B") >/dev/null &
  ravelin_do A capture -w - --stage decrypted --count 4 --seconds 4 2>/dev/null | tshark -r - -T fields -e frame.comment 2>/dev/null | grep -c 'at decrypted'
}

followed() {
  printf '%s\n' "$(mac_of gwA wan0)" >"$LAB/mac"
  (sleep 0.4; in_ns wan "$PY" "$LAB_HERE/py/wire.py" clear "$LAB/clear" "$(mac_of gwB wan0)" "$(cat "$LAB/mac")" "$HOST_B" "$HOST_A" 5 >/dev/null
    in_ns wan "$PY" "$LAB_HERE/py/wire.py" send toA "$LAB/clear" >/dev/null) &
  ravelin_do A trace --packets 1/1 --stage drop --drop plain_on_protected --count 5 --seconds 4 >"$LAB/lines"
  wait $!
  equal "trace: a line for each packet dropped, with µs, worker, port and reason" 5 \
    "$(grep -Ec '^[0-9:]{8}\.[0-9]{6} w0 0\.[0-9]+ drop +10\.2\.0\.10:[0-9]+ > 10\.1\.0\.10:[0-9]+ udp .* i\(wan0\) drop plain_on_protected$' "$LAB/lines")"
}

unread() { # a reader that stands still costs records, not packets
  ravelin_do A capture -w "$LAB/slow.pcapng" --seconds 30 2>/dev/null &
  local capture=$!
  sleep 0.3
  kill -STOP $capture
  flow_start through A B 2 1500
  check_flow through "2 s of traffic while nobody reads the capture"
  kill -CONT $capture
  kill -TERM $capture
  wait $capture 2>/dev/null
}
