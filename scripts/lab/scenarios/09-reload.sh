# SIGHUP under load: a second tunnel comes and goes, the first loses nothing and keeps its SPIs; a bad file changes nothing
# quick
# alone
#
# R305. gwB knows both tunnels from the start.
scenario() {
  local spis
  watch_start
  ravelin_config B start=respond tunnels=2
  ravelin_start B
  ravelin_config A start=immediately
  ravelin_start A
  check "the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  spis=$(both_spis)
  flow_start ab A B 14 1000
  flow_start ba B A 14 1000

  ravelin_config A start=immediately tunnels=2
  reload
  check "the second tunnel comes up" wait_until 10 tunnel_up A other
  wait_until 5 in_ns hostA ping -n -c 1 -W 1 -I 10.9.1.10 10.9.2.10
  equal "it carries traffic" 5 "$(in_ns hostA ping -n -i 0.05 -c 5 -W 2 -I 10.9.1.10 10.9.2.10 2>/dev/null | sed -n 's/.* \([0-9]*\) received.*/\1/p')"
  check "the log says what changed" said 'other'

  cp "$LAB/ravelinA/ravelin.toml" "$LAB/ravelinA/good.toml"
  sed -i 's/esp-proposals = .*/esp-proposals = ["rot13"]/' "$LAB/ravelinA/ravelin.toml"
  reload
  check "the log says why the bad file is refused" wait_until 5 said 'rot13'
  equal "after the bad file both tunnels are as before" 2 "$(ravelin_json A tunnels | jq '[.[] | select(.state == "up")] | length')"

  ravelin_config A start=immediately
  reload
  check "the second tunnel goes" wait_until 10 gone other
  equal "the first kept its SPIs" "$spis" "$(both_spis)"
  check_flow ab "1,000 datagrams a second hostA to hostB, across three reloads" 40
  check_flow ba "1,000 datagrams a second hostB to hostA, across three reloads" 40
  equal "still the same SPIs" "$spis" "$(both_spis)"
  check_conservation A
  check_conservation B
  watch_stop
  check_wan
}

reload() { signal_process controlA HUP; sleep 1; }
both_spis() { ravelin_json A tunnels | jq -r '.[] | select(.name == "net") | "\(.spi_in) \(.spi_out)"'; }
said() { grep -q "$1" "$LAB/controlA.log"; }
gone() { [ "$(ravelin_json A tunnels | jq "[.[] | select(.name == \"$1\")] | length")" = 0 ]; }
