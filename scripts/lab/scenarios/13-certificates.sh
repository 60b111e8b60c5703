# Certificates of every kind with strongSwan, in both roles: RSA, PSS, ECDSA, Ed25519, an intermediate CA; a CRL that refuses
scenario() {
  make_pki
  # OURS THEIRS WHO_BEGINS EXTRA: kinds of keys; strongSwan's auth says which signatures it takes.
  one_pki rsa rsa initiator 'pubkey' pkcs1
  one_pki rsa rsa responder 'ike:rsa/pss-sha256' pss
  one_pki p256 ed25519 initiator 'pubkey' pkcs1
  one_pki ed25519 p384 responder 'pubkey' pkcs1
  one_pki deep p256 initiator 'pubkey' pkcs1
  refused_pki
}

# A root, an intermediate CA, and a certificate for each kind of key and each gateway; "gone" is revoked.
make_pki() {
  PKI=$LAB/pki
  mkdir -p "$PKI" && chmod 700 "$PKI"
  (
    cd "$PKI" && umask 077 && set -e
    printf '%s\n' 'basicConstraints=critical,CA:true' 'keyUsage=critical,keyCertSign,cRLSign' 'subjectKeyIdentifier=hash' >ca.ext
    new_key p384 root.key
    openssl req -x509 -new -key root.key -subj '/C=DE/O=Lab/CN=Root' -days 3 -out root.pem -config /dev/null \
      -addext 'basicConstraints=critical,CA:true' -addext 'keyUsage=critical,keyCertSign,cRLSign'
    new_key p256 sub.key
    issue sub.key '/C=DE/O=Lab/CN=Sub' root ca.ext sub.pem
    for kind in rsa p256 p384 ed25519; do
      for gateway in a b; do end_entity "$kind" "$gateway" root "$gateway-$kind"; done
    done
    end_entity p256 a sub a-deep && cat sub.pem >>a-deep.pem
    end_entity p256 b root b-gone
    : >index.txt
    printf '%s\n' '[ca]' 'default_ca=c' '[c]' 'database=index.txt' 'default_md=sha384' 'default_crl_days=2' 'crl_extensions=e' '[e]' 'authorityKeyIdentifier=keyid' >ca.conf
    openssl ca -config ca.conf -cert root.pem -keyfile root.key -revoke b-gone.pem
    openssl ca -config ca.conf -cert root.pem -keyfile root.key -gencrl -out root.crl
  ) >"$LAB/pki.log" 2>&1 || { tail -5 "$LAB/pki.log" >&2; die "the certificates could not be made"; }
}
new_key() { # KIND FILE
  case $1 in
    rsa) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$2" ;;
    p256|p384) openssl genpkey -algorithm EC -pkeyopt "ec_paramgen_curve:P-${1#p}" -out "$2" ;;
    ed25519) openssl genpkey -algorithm ed25519 -out "$2" ;;
  esac
}
issue() { # KEY SUBJECT CA EXTENSIONS FILE
  openssl req -new -key "$1" -subj "$2" -config /dev/null -out "$5.csr"
  openssl x509 -req -in "$5.csr" -CA "$3.pem" -CAkey "$3.key" -CAcreateserial -days 2 -extfile "$4" -out "$5"
}
end_entity() { # KIND GATEWAY CA FILE
  printf '%s\n' "subjectAltName=DNS:$2.lab" 'keyUsage=critical,digitalSignature' 'authorityKeyIdentifier=keyid' >"$2.ext"
  new_key "$1" "$4.key"
  issue "$4.key" "/C=DE/O=Lab/CN=$2-$1" "$3" "$2.ext" "$4.pem"
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
log_has() { ravelin_log "$1" | grep -q "$2"; }

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
  local kind=$1 role=$2 auth=$3 dir=$LAB/swanB
  mkdir -p "$dir/etc/x509" "$dir/etc/x509ca" "$dir/etc/private"
  rm -f "$dir"/etc/x509/* "$dir"/etc/private/*
  cp "$PKI/b-$kind.pem" "$dir/etc/x509/b.pem"
  cp "$PKI/root.pem" "$dir/etc/x509ca/"
  cp "$PKI/b-$kind.key" "$dir/etc/private/b.pem"
  strongswan_start B "role=$role" "local_auth=auth = pubkey
             certs = b.pem" "remote_auth=auth = $auth"
}
