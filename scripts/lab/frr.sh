# FRR's zebra and ospfd in a namespace. Sourced by the scenarios that need them; no service is started.
#
# frr_start SIDE DEVICE: OSPF over DEVICE of gateway A or B, point to point, hello 1 s, dead 4 s; the networks of lan0 are
# told. Its folder is outside of the lab's, which only root may enter: the daemons give up being root.

frr_prerequisites() {
  install_packages frr
  [ -x /usr/lib/frr/ospfd ] || die "the package frr has no /usr/lib/frr/ospfd"
}

frr_dir() { echo "${TMPDIR:-/tmp}/$LAB_ID-frr$1"; }

frr_start() { # SIDE DEVICE
  local dir daemon
  dir=$(frr_dir "$1")
  mkdir -m 755 "$dir" || die "cannot make $dir"
  cat >"$dir/ospfd.conf" <<CONF
interface $2
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 4
 ip ospf area 0
interface lan0
 ip ospf passive
 ip ospf area 0
router ospf
 timers throttle spf 0 50 500
 timers throttle lsa all 0
 timers lsa min-arrival 0
CONF
  : >"$dir/zebra.conf"
  chown -R frr:frr "$dir"
  start_process "zebra$1" "gw$1" /usr/lib/frr/zebra $(frr_options "$dir" zebra)
  wait_until 5 test -S "$dir/zserv.api" || die "zebra of gw$1 did not start"
  start_process "ospfd$1" "gw$1" /usr/lib/frr/ospfd $(frr_options "$dir" ospfd)
}

frr_options() { # DIR DAEMON
  echo "-u frr -g frr -f $1/$2.conf -i $1/$2.pid -z $1/zserv.api --vty_socket $1 -A 127.0.0.1 --log file:$1/$2.log"
}

ospf_neighbours() { in_ns "gw$1" vtysh --vty_socket "$(frr_dir "$1")" -c 'show ip ospf neighbor'; }
ospf_full() { ospf_neighbours "$1" | grep -q Full/; }
ospf_route() { ipn "gw$1" route show "$2" proto ospf | grep -q .; }

frr_stop() { # SIDE
  stop_process "ospfd$1" 3
  stop_process "zebra$1" 3
  rm -rf "$(frr_dir "$1")"
}
