# Certificates of every kind with strongSwan, in both roles: RSA, PSS, ECDSA, Ed25519, an intermediate CA;
# revocation by a file, by HTTP and by OCSP
. "${BASH_SOURCE%/*}/../pki.sh"
scenario() {
  make_pki
  # OURS THEIRS WHO_BEGINS EXTRA: kinds of keys; strongSwan's auth says which signatures it takes.
  one_pki rsa rsa initiator 'pubkey' pkcs1
  one_pki rsa rsa responder 'ike:rsa/pss-sha256' pss
  one_pki p256 ed25519 initiator 'pubkey' pkcs1
  one_pki ed25519 p384 responder 'pubkey' pkcs1
  one_pki deep p256 initiator 'pubkey' pkcs1
  refused_pki
  asked_pki
}

one_pki() { # OURS THEIRS ROLE_OF_STRONGSWAN AUTH RSA_SIGNATURE
  local role=$3 start=immediately text="$1 for us, $2 for strongSwan, which is $3"
  [ "$role" = responder ] || start=respond
  watch_start
  pki_config "$1" "$start" "rsa-signature = \"$5\""
  if [ "$role" = responder ]; then
    pki_strongswan "$2" "$role" "$4"
    ravelin_start A
  else
    ravelin_start A
    pki_strongswan "$2" "$role" "$4"
  fi
  check "$text: up" wait_until 15 tunnel_up A
  wait_path hostA "$HOST_B" 5
  equal "$text: pings" 10 "$(pings hostA "$HOST_B" 10 -s 1000)"
  check_conservation A
  ravelin_stop A
  strongswan_stop B
  watch_stop
  check_wan
}

refused_pki() {
  pki_config p256 respond 'crl = "required"
crl-files = ["'"$PKI"'/root.crl"]'
  ravelin_start A
  pki_strongswan gone initiator pubkey
  check "a revoked certificate: refused with the reason" wait_until 15 log_has A 'is revoked'
  check "a revoked certificate: no tunnel" not tunnel_up A
  strongswan_stop B
  ravelin_stop A
}

# Where the certificate says; each answer counts, and so does its absence.
asked_pki() {
  revocation_servers
  one_asked p256 'crl = "required"' 'ocsp = "required"'
  check 'neither CRL nor OCSP has anything against it: up' wait_until 15 tunnel_up A
  end_asked
  one_asked gone 'crl = "if-available"'
  check 'a list fetched by HTTP: refused with the reason' wait_until 15 log_has A 'is revoked'
  end_asked
  one_asked gone 'ocsp = "required"'
  check 'an answer of OCSP: refused with the reason' wait_until 15 log_has A 'is revoked'
  check 'no tunnel' not tunnel_up A
  stop_process ocsp
  stop_process crl
  end_asked
  one_asked p256 'ocsp = "required"'
  check 'nobody answers, and an answer is required: refused with the reason' wait_until 15 log_has A 'not known by OCSP'
  check 'no tunnel' not tunnel_up A
  end_asked
}
one_asked() { # STRONGSWAN'S KEY LINE...
  local kind=$1
  shift
  : >"$LAB/controlA.log"
  pki_config p256 respond "$(printf '%s\n' "$@")"
  ravelin_start A
  pki_strongswan "$kind" initiator pubkey
}
end_asked() {
  strongswan_stop B
  ravelin_stop A
}

pki_config() { # KIND START EXTRA
  ravelin_config A "start=$2"
  local file=$LAB/ravelinA/ravelin.toml kind=$1
  cat >>"$file" <<CONF
auth = "certificate"
certificate = "$PKI/a-$kind.pem"
private-key = "$PKI/a-$kind.key"
trusted-ca = ["$PKI/root.pem"]
$3
CONF
}

pki_strongswan() { # KIND ROLE AUTH
  local kind=$1 role=$2 auth=$3
  pki_files "$kind"
  strongswan_start B "role=$role" "local_auth=auth = pubkey
             certs = b.pem" "remote_auth=auth = $auth"
}
