# Malformed input at every door: random, truncated, lying lengths, ike-scan; both processes live on, memory is bounded
# quick
#
# Doors: IP, ESP, AH, UDP 4500, UDP 500 (headers and payload chains), the API's socket, the data plane's socket, the
# configuration. Frames come from seeds, so that a failure can be repeated.
scenario() {
  local door seed before after sent entered
  watch_start
  ravelin_config A start=immediately
  ravelin_config B start=respond
  ravelin_start B
  # What the engine counted is told at its end.
  RUST_LOG=info,ravelin_control::driver::stop=debug ravelin_start A
  check "the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  warm_up
  local data_before control_before
  data_before=$(resident_kb dataplaneA) control_before=$(resident_kb controlA)
  for door in ip esp ah natt ike; do
    before=$(all_drops) entered=$(seen_frames)
    for seed in 1 2; do
      "$PY" "$LAB_HERE/py/hostile.py" frames $door "$LAB/hostile" "$(mac_of gwB wan0)" "$(mac_of gwA wan0)" "$OUT_B" "$OUT_A" \
        --count 4000 --seed $seed >/dev/null
      sent=$(in_ns wan "$PY" "$LAB_HERE/py/wire.py" send toA "$LAB/hostile")
    done
    wait_until 5 settled A
    wait_until 5 saw $((entered + 6000))
    after=$(all_drops)
    check "$door: the data plane lives" alive dataplaneA
    check "$door: the control process lives" alive controlA
    at_least "$door: frames the XDP program saw" 6000 $(($(seen_frames) - entered))
    case $door in
      esp | natt) at_least "$door: dropped under a name" 1000 $((after - before)) ;;
      ip) at_least "$door: dropped under a name" 100 $((after - before)) ;;
    esac
    equal "$door: the tunnel still works" 10 "$(pings hostA "$HOST_B" 10)"
  done
  equal "API socket: garbage sent" 120 "$("$PY" "$LAB_HERE/py/hostile.py" socket "$(run_dir A)/control.sock" --count 120)"
  check "API socket: it still answers" ravelin_do A show tunnels
  equal "data plane's socket: garbage sent" 120 "$("$PY" "$LAB_HERE/py/hostile.py" socket "$(run_dir A)/dataplane.sock" --count 120)"
  check "data plane's socket: both live" both_live
  equal "the tunnel still works" 10 "$(pings hostA "$HOST_B" 10)"
  scanned
  bad_configurations
  at_most "the data plane's memory grew by KiB" 8192 $(($(resident_kb dataplaneA) - data_before))
  at_most "the control process's memory grew by KiB" 16384 $(($(resident_kb controlA) - control_before))
  check_conservation A
  check_conservation B
  watch_stop
  equal "no inside address crossed the wan in clear" 0 "$(wan_count clear)"
  ravelin_stop A
  at_least "ike-scan: requests of strangers, by the engine's counter" 1 "$(engine_count no_connection)"
  at_least "ike-scan: of other versions" 4 "$(engine_count wrong_version)"
  at_least "ike-scan: without a common proposal" 1 "$(engine_count no_proposal_chosen)"
}

# R134: IKEv2 alone is spoken. A stranger and the peer's own address ask by ike-scan: IKEv2, IKEv1 in main and aggressive mode, a version that does not exist yet.
STRANGER=198.18.0.77
scanned() {
  local asked answered
  ipn wan addr add "$STRANGER/24" dev br0
  start_process scan.capture wan tcpdump -i br0 -U -w "$LAB/scan.pcap" "udp and host $OUT_A and not udp port 4500"
  wait_until 5 test -s "$LAB/scan.pcap" || die "the capture of the scan did not start"
  # RFC 7296 §1.5, §2.5: an older version is not ours to answer; a newer one is told which we have.
  probe "IKEv1 main mode" wan '0 returned handshake; 0 returned notify'
  probe "IKEv1 aggressive mode" wan '0 returned handshake; 0 returned notify' --aggressive --id=a.lab --pskcrack="$LAB/scan.psk"
  check "ike-scan: nothing to crack" test ! -s "$LAB/scan.psk"
  probe "IKEv2 by a stranger" wan '0 returned handshake; 1 returned notify' --ikev2
  check "ike-scan: it hears what everybody hears who does not fit" grep -q 'Notify message 14 (NO.PROPOSAL.CHOSEN)' "$LAB/scan.out"
  probe "IKEv2 without a common proposal" gwB '0 returned handshake; 1 returned notify' --ikev2
  check "ike-scan: NO_PROPOSAL_CHOSEN, and nothing else" grep -q 'Notify message 14 (NO.PROPOSAL.CHOSEN)' "$LAB/scan.out"
  probe "a major version of 3" wan '0 returned handshake; 1 returned notify' --headerver=0x30
  check "ike-scan: INVALID_MAJOR_VERSION" grep -q 'Notify message 5 ' "$LAB/scan.out"
  wan_settle
  stop_process scan.capture
  read -r asked answered <<<"$(tshark -nr "$LAB/scan.pcap" -Y "udp.port != 500 || ip.addr == $STRANGER" -T fields -e ip.src -e ip.len 2>/dev/null |
    awk -v us="$OUT_A" '{ if ($1 == us) out += $2; else in_ += $2 } END { print in_ + 0, out + 0 }')"
  at_least "ike-scan: bytes asked" 1500 "$asked"
  at_most "ike-scan: bytes answered" "$((asked / 4))" "$answered"
  check "ike-scan: no vendor and no secret is told" not_in_scan "$LAB_PSK" strongSwan avelin
  equal "the tunnel still works" 10 "$(pings hostA "$HOST_B" 10)"
  ipn wan addr del "$STRANGER/24" dev br0
}
probe() { # TEXT NAMESPACE ANSWERS [OPTIONS]
  local text=$1 ns=$2 answers=$3
  shift 3
  in_ns "$ns" timeout 20 ike-scan --sport=0 --retry=2 --timeout=300 "$@" "$OUT_A" >"$LAB/scan.out" 2>&1
  check "ike-scan: $text: ${answers//returned /}" grep -q "$answers" "$LAB/scan.out"
  check "ike-scan: $text: no vendor id" not_a_line VID
}
not_a_line() { ! grep -q "$1" "$LAB/scan.out"; }
not_in_scan() { local word; for word; do ! grep -qa "$word" "$LAB/scan.pcap" || return 1; done; }
engine_count() { ravelin_log A | sed 's/\x1b\[[0-9;]*m//g' | grep "counter=\"$1\"" | grep -o 'n=[0-9]*' | tail -n 1 | cut -d= -f2; }

# Memory that is used once and kept (buffers, tables) is no growth: have it used before the first reading.
warm_up() {
  local door
  for door in esp ike; do
    "$PY" "$LAB_HERE/py/hostile.py" frames $door "$LAB/hostile" "$(mac_of gwB wan0)" "$(mac_of gwA wan0)" "$OUT_B" "$OUT_A" --count 500 --seed 99 >/dev/null
    in_ns wan "$PY" "$LAB_HERE/py/wire.py" send toA "$LAB/hostile" >/dev/null
  done
}
all_drops() { ravelin_json A drops | jq '([.total[]] | add) + ([.ports[].drops[]] | add)'; }
seen_frames() { ravelin_json A ports | jq '[.[] | select(.name == "wan0") | .counters[]] | add'; }
saw() { [ "$(seen_frames)" -ge "$1" ]; }
both_live() { alive dataplaneA && alive controlA && ravelin_do A show tunnels; }

bad_configurations() {
  local n bad="$LAB/ravelinA/hostile.toml" refused=0
  for n in 1 2 3 4 5 6 7 8; do
    case $n in
      1) head -c 4096 /dev/urandom >"$bad" ;;
      2) head -c $(($(stat -c %s "$LAB/ravelinA/ravelin.toml") / 2)) "$LAB/ravelinA/ravelin.toml" >"$bad" ;;
      3) sed 's/selectors.*/selectors = [{ local = "10.1.0.0\/33", remote = "10.2.0.0\/24" }]/' "$LAB/ravelinA/ravelin.toml" >"$bad" ;;
      4) sed 's/frames = .*/frames = -1/' "$LAB/ravelinA/ravelin.toml" >"$bad" ;;
      5) yes '[[tunnel]]' | head -n 100000 >"$bad" ;;
      6) sed 's/esp-proposals.*/esp-proposals = ["rot13"]/' "$LAB/ravelinA/ravelin.toml" >"$bad" ;;
      7) printf 'a = %s\n' "$(head -c 20000 /dev/zero | tr '\0' '[')" >"$bad" ;;
      8) : >"$bad" ;;
    esac
    timeout 10 "$RAVELIN_BIN/ravelin" check "$bad" >"$LAB/check.out" 2>&1
    # 1 or 2 is a refusal; 124 a time-out, above 128 a crash.
    case $? in 1 | 2) [ -s "$LAB/check.out" ] && refused=$((refused + 1)) ;; esac
  done
  equal "configuration: hostile files refused with a message" 8 $refused
}
