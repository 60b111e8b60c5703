# Malformed input at every door: random, truncated, lying lengths; both processes live on, memory is bounded
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
  ravelin_start A
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
  bad_configurations
  at_most "the data plane's memory grew by KiB" 8192 $(($(resident_kb dataplaneA) - data_before))
  at_most "the control process's memory grew by KiB" 16384 $(($(resident_kb controlA) - control_before))
  check_conservation A
  check_conservation B
  watch_stop
  equal "no inside address crossed the wan in clear" 0 "$(wan_count clear)"
}

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
