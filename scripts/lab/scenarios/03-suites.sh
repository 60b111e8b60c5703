# Every ESP suite with strongSwan (R139, R169), and IKE proposals of each kind, in both roles; ML-KEM, which it does not know, is passed over
scenario() {
  local entry ike esp
  for entry in \
    'aes256gcm16-prfsha384-x25519-mlkem768 aes256gcm16-prfsha384-x25519:aes128gcm16' \
    aes256-sha256-modp2048:aes256gcm16 \
    aes128-sha256-ecp256:aes256-sha256 \
    aes256-sha384-ecp384:aes128-sha256 \
    aes128gcm16-prfsha256-x25519:chacha20poly1305 \
    aes256-sha512-x25519:aes256-sha1; do
    ike=${entry%%:*} esp=${entry#*:}
    one_suite initiator responder
    one_suite responder initiator
  done
}

one_suite() { # ROLE_OF_STRONGSWAN: who begins
  local role=$1 start=immediately text="$esp under $ike, strongSwan $1"
  [ "$role" = responder ] || start=respond
  watch_start
  ravelin_config A start=$start "ike=$ike" "esp=$esp"
  if [ "$role" = responder ]; then
    strongswan_start B role=responder "ike=$(swan_words "$ike")" "esp=$esp"
    ravelin_start A
  else
    ravelin_start A
    strongswan_start B role=initiator "ike=$(swan_words "$ike")" "esp=$esp"
  fi
  check "$text: up" wait_until 15 tunnel_up A
  wait_path hostA "$HOST_B" 5
  equal "$text: pings" 20 "$(pings hostA "$HOST_B" 20 -s 1000)"
  equal "$text: pings back" 20 "$(pings hostB "$HOST_A" 20)"
  equal "$text: bad_icv" 0 "$(drops_of A bad_icv)"
  check_conservation A
  ravelin_stop A
  strongswan_stop B
  watch_stop
  check_wan
}
# Those that strongSwan 5.9 knows: it must choose one of them.
swan_words() {
  local word words=
  for word in $1; do case $word in *mlkem*) ;; *) words=$words${words:+,}$word ;; esac; done
  echo "$words"
}
