# Certificates for the lab. Sourced by the scenarios that need them.

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
    openssl ca -config ca.conf -cert root.pem -keyfile root.key -valid b-p256.pem
    openssl ca -config ca.conf -cert root.pem -keyfile root.key -gencrl -out root.crl
    mkdir -p www && openssl crl -in root.crl -outform DER -out www/root.crl
    printf '%s\n' 'keyUsage=critical,digitalSignature' 'extendedKeyUsage=OCSPSigning' >ocsp.ext
    new_key p256 ocsp.key && issue ocsp.key '/C=DE/O=Lab/CN=OCSP' root ocsp.ext ocsp.pem
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
  # Who asks whether they are revoked is us: strongSwan's certificates say where.
  [ "$2" = a ] || printf '%s\n' "crlDistributionPoints=URI:http://$OUT_B:8080/root.crl" "authorityInfoAccess=OCSP;URI:http://$OUT_B:8081/" >>"$2.ext"
  new_key "$1" "$4.key"
  issue "$4.key" "/C=DE/O=Lab/CN=$2-$1" "$3" "$2.ext" "$4.pem"
}

pki_files() { # KIND: strongSwan's
  local dir=$LAB/swanB
  mkdir -p "$dir/etc/x509" "$dir/etc/x509ca" "$dir/etc/private"
  rm -f "$dir"/etc/x509/* "$dir"/etc/private/*
  cp "$PKI/b-$1.pem" "$dir/etc/x509/b.pem"
  cp "$PKI/root.pem" "$dir/etc/x509ca/"
  cp "$PKI/b-$1.key" "$dir/etc/private/b.pem"
}

log_has() { ravelin_log "$1" | grep -q "$2"; }

revocation_servers() { # the root's list over HTTP, and a responder with a certificate for that task
  start_process crl gwB $PY -m http.server 8080 --bind "$OUT_B" --directory "$PKI/www"
  start_process ocsp gwB openssl ocsp -index "$PKI/index.txt" -port 8081 -rsigner "$PKI/ocsp.pem" -rkey "$PKI/ocsp.key" -CA "$PKI/root.pem" -nmin 5
  wait_until 10 listens gwB 8080 && wait_until 10 listens gwB 8081
}
listens() { in_ns "$1" ss -Hlt "sport = :$2" | grep -q .; }
