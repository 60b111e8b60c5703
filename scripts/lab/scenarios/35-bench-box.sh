# The bench measures two Ravelins that it did not start: --ports, at the hosts' ends of the tunnel
# alone
scenario() {
  ravelin_config A start=immediately
  ravelin_config B start=respond
  ravelin_start B
  ravelin_start A
  check "up on both" both_up
  wait_path hostA "$HOST_B" 5
  bench_box >"$LAB/bench.json" 2>"$LAB/bench.log"
  equal "the bench ends well" 0 $?
  [ -s "$LAB/bench.json" ] || tail -n 5 "$LAB/bench.log"
  # Not how many: three busy threads share the cores here.
  at_least "packets per second through the tunnel" 1 "$(figure throughput '.kpps * 1000 | floor')"
  at_least "time-stamps read behind the tunnel" 1 "$(figure latency .samples)"
  equal "the tunnel works as before" 5 "$(pings hostA "$HOST_B" 5)"
  check_conservation A
  check_conservation B
}
both_up() { wait_until 20 tunnel_up A && wait_until 5 tunnel_up B; }
figure() { jq -r "select(.what == \"$1\") | $2" "$LAB/bench.json"; }
bench_box() {
  timeout 60 "$RAVELIN_BIN/ravelin-bench" wire --json --tests throughput,latency --loss 90% --loads 50 --sizes 256 --seconds 0.2 \
    --ports eth0,eth0 --namespaces "$LAB_ID-hostA,$LAB_ID-hostB" \
    --box-macs "$(mac_of gwA lan0),$(mac_of gwB lan0)" --source "$HOST_A" --destination "$HOST_B" --name "two Ravelins"
}
