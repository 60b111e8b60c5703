# A peer with two gateways (R1, R2, R9): the second one when the first is silent, and back without a loss; reauthentication;
# IKE_AUTH without a child; signalling of MOBIKE. The peer is strongSwan in all of them
scenario() {
  watch_start
  two_gateways
  ravelin_config A start=immediately dpd=1s more="backups = [{ remote = \"$BACKUP\", remote-id = \"c.lab\" }]
return-to-first = \"2s\"
reauthentication = \"6s\"
childless = true"
  printf '[[secret]]\nlocal-id = "a.lab"\nremote-id = "c.lab"\npsk = "another secret, of the backup alone"\n' >>"$LAB/ravelinA/secrets.toml"
  ravelin_start A
  check "the tunnel comes up with the first gateway" wait_until 20 tunnel_up A
  equal "peer" "$OUT_B" "$(peer_of A)"
  wait_path hostA "$HOST_B"
  check "IKE_AUTH brought no child: CREATE_CHILD_SA did" in_log 'generating CREATE_CHILD_SA response'

  say "reauthentication"
  flow_start reauth A B 8 500
  check_flow reauth "8 s across a reauthentication"
  at_least "IKE_SA_INIT requests that the peer saw" 2 "$(count_log 'parsed IKE_SA_INIT request')"

  say "the first gateway falls silent"
  ipn gwB addr del "$OUT_B/24" dev wan0
  check "the second one takes over" wait_until 30 serves "$BACKUP"
  check "traffic passes" wait_path hostA "$HOST_B" 5
  check "it is said which one failed" grep -q 'the peer does not answer' "$LAB/controlA.log"

  say "the first gateway is back"
  flow_start back A B 30 500
  ipn gwB addr add "$OUT_B/24" dev wan0
  check "the first one takes over again" wait_until 20 serves "$OUT_B"
  sleep 0.5
  flow_stop back
  check_flow back "across the return"
  one_way
  check_conservation A
  watch_stop
  equal "no inside address crossed the wan in clear" 0 "$(wan_count clear)"
}

# R48: the peer's ESP is dropped on its way, IKE is not.
one_way() {
  say "one-way"
  ravelin_config A start=immediately more='one-way-after = "2s"'
  ravelin_do A reload >/dev/null
  check "up, one gateway alone" wait_until 10 tunnel_up A
  wait_path hostA "$HOST_B"
  in_ns gwB nft -f - <<NFT
table ip drop_esp {
  chain out {
    type filter hook output priority 0;
    udp dport 4500 @th,64,32 != 0 drop
  }
}
NFT
  start_process asks hostA ping -n -q -i 0.1 "$HOST_B"
  check "it is shown" wait_until 8 shown_one_way
  check "it is logged" grep -q 'one-way: it sends and receives nothing' "$LAB/controlA.log"
  in_ns gwB nft delete table ip drop_esp
  check "and no more when packets come again" wait_until 5 not shown_one_way
  stop_process asks
}
shown_one_way() { [ "$(tunnel_value A one_way_s)" != null ]; }

BACKUP=198.18.0.3
peer_of() { tunnel_value "$1" remote | sed 's/:.*//'; }
serves() { tunnel_up A && [ "$(peer_of A)" = "$1" ]; }
in_log() { strongswan_log B | grep -q "$1"; }
count_log() { strongswan_log B | grep -c "$1"; }

# One strongSwan with two addresses: towards each of them it is somebody else, with another secret.
two_gateways() {
  in_ns gwB sysctl -qw net.ipv4.conf.all.promote_secondaries=1 net.ipv4.conf.wan0.promote_secondaries=1
  ipn gwB addr add "$BACKUP/24" dev wan0
  strongswan_start B role=responder
  cat >>"$LAB/swanB/etc/swanctl.conf" <<CONF
connections {
  backup {
    version = 2
    mobike = no
    local_addrs = $BACKUP
    remote_addrs = $OUT_A
    proposals = aes256gcm16-prfsha384-x25519
    dpd_delay = 5s
    local { auth = psk
            id = c.lab }
    remote { auth = psk
             id = a.lab }
    children {
      net {
        local_ts = $NET_B
        remote_ts = $NET_A
        esp_proposals = aes128gcm16
      }
    }
  }
}
secrets {
  ike-backup {
    id-1 = c.lab
    id-2 = a.lab
    secret = "another secret, of the backup alone"
  }
}
CONF
  swanctl_do B --load-all >"$LAB/swanB/load.log" 2>&1 || die "strongSwan refused its second connection"
}
