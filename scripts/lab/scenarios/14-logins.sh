# Logging in by EAP with strongSwan in both roles: MSCHAPv2 (makes a key), MD5 (makes none), TLS; a wrong password; a
# post-quantum pre-shared key (RFC 8784), with and without, also with EAP; EAP-TLS alone (RFC 5998)
. "${BASH_SOURCE%/*}/../pki.sh"
scenario() {
  make_pki
  # METHOD WHO_LOGS_IN
  login mschapv2 strongswan ppk
  login mschapv2 ravelin ppk
  login md5 strongswan
  login md5 ravelin
  login tls strongswan
  login tls ravelin
  login tls strongswan only
  login tls ravelin only
  wrong_password
  # WHO_BEGINS OURS THEIRS (yes: required)
  ppk strongswan yes yes
  ppk ravelin yes yes
  ppk strongswan no none
  ppk_refused
}

# SIDE_THAT_LOGS_IN KEYS: our configuration; the passwords of two users
login_config() { # WHO METHOD
  local who=$1 method=$2 start=respond
  [ "$who" = strongswan ] || start=immediately
  ravelin_config A "start=$start"
  if [ "$who" = strongswan ]; then
    cat >>"$LAB/ravelinA/ravelin.toml" <<CONF
auth = "certificate"
remote-auth = "eap"
certificate = "$PKI/a-p256.pem"
private-key = "$PKI/a-p256.key"
eap-methods = ["mschapv2", "$method"]
CONF
    [ "$method" != tls ] || printf 'trusted-ca = ["%s"]\n' "$PKI/root.pem" >>"$LAB/ravelinA/ravelin.toml"
    [ "$method" != mschapv2 ] || sed -i 's/^eap-methods.*/eap-methods = ["mschapv2"]/' "$LAB/ravelinA/ravelin.toml"
  else
    cat >>"$LAB/ravelinA/ravelin.toml" <<CONF
auth = "eap"
remote-auth = "certificate"
trusted-ca = ["$PKI/root.pem"]
eap-user = "carol"
eap-methods = ["$method"]
CONF
    [ "$method" != tls ] || printf 'certificate = "%s"\nprivate-key = "%s"\n' "$PKI/a-rsa.pem" "$PKI/a-rsa.key" >>"$LAB/ravelinA/ravelin.toml"
    # The name in that certificate.
    [ "$method" != tls ] || sed -i 's/^eap-user.*/eap-user = "a.lab"/' "$LAB/ravelinA/ravelin.toml"
  fi
  printf '[[user]]\nname = "%s"\npassword = "%s"\n\n' carol "$PASSWORD" dave another >>"$LAB/ravelinA/secrets.toml"
}
PASSWORD='an open Sesame'

login_swan() { # WHO METHOD, and as the caller has set: proof, more, secret
  local id=carol
  # With TLS a certificate proves who it is: it has another name in it.
  [ "$2" != tls ] || id=b.lab
  pki_files p256
  if [ "$1" = strongswan ]; then
    strongswan_start B role=initiator "plugins=$EAP_PLUGINS" "connection=$more" "secrets=eap-carol { id = carol
      secret = \"$PASSWORD\" }
    $secret" "local_auth=auth = eap-$2
             eap_id = $id
             certs = b.pem" "remote_auth=$proof"
  else
    strongswan_start B role=responder "plugins=$EAP_PLUGINS" "connection=$more" "secrets=eap-carol { id = carol
      secret = \"$PASSWORD\" }
    $secret" "local_auth=$proof
             certs = b.pem" "remote_auth=auth = eap-$2
             eap_id = %any"
  fi
}
EAP_PLUGINS='eap-identity eap-mschapv2 eap-md5 eap-tls md5'

# only: the side that answers proves itself by EAP too; ppk: with a post-quantum pre-shared key that both require
login() { # METHOD WHO [only|ppk]
  local method=$1 who=$2 text="EAP-$1${3:+ ($3)}, $2 logs in" proof='auth = pubkey' more='' secret=''
  login_config "$who" "$method"
  case ${3:-} in
    only)
      proof='auth = eap-tls'
      sed -i -e '/^\(auth\|remote-auth\|certificate\|private-key\|trusted-ca\|eap-methods\|eap-user\) =/d' "$LAB/ravelinA/ravelin.toml"
      printf 'auth = "eap"\nremote-auth = "eap"\neap-methods = ["tls"]\ncertificate = "%s"\nprivate-key = "%s"\ntrusted-ca = ["%s"]\n' \
        "$PKI/a-rsa.pem" "$PKI/a-rsa.key" "$PKI/root.pem" >>"$LAB/ravelinA/ravelin.toml"
      ;;
    ppk)
      printf 'ppk-id = "lab-ppk"\nppk = "required"\n' >>"$LAB/ravelinA/ravelin.toml"
      printf '[[ppk]]\nid = "lab-ppk"\nkey-hex = "%s"\n' "$PPK" >>"$LAB/ravelinA/secrets.toml"
      more='ppk_id = lab-ppk
    ppk_required = yes' secret="ppk-lab { id = lab-ppk
      secret = 0x$PPK }"
      ;;
  esac
  both "$who" login_swan "$who" "$method"
  works "$text"
  [ "${3:-}" != ppk ] || check "$text: strongSwan used the PPK" grep -q 'using PPK' "$LAB/swanB/charon.log"
  [ "$who" = ravelin ] || equal "$text: as whom" "$([ "$method" = tls ] && echo b.lab || echo carol)" "$(tunnel_value A remote_id)"
  stop_both
}

# WHO_BEGINS COMMAND...: starts ours, and strongSwan by the command; who begins comes last
both() {
  local who=$1
  shift
  if [ "$who" = strongswan ]; then ravelin_start A; "$@"; else "$@"; ravelin_start A; fi
}
works() { # TEXT
  check "$1: up" wait_until 15 tunnel_up A
  wait_path hostA "$HOST_B" 5
  equal "$1: pings" 5 "$(pings hostA "$HOST_B" 5 -s 1000)"
}
stop_both() {
  check_conservation A
  ravelin_stop A
  strongswan_stop B
}

wrong_password() {
  local proof='auth = pubkey' more='' secret=''
  login_config strongswan mschapv2
  sed -i "s/$PASSWORD/something else/" "$LAB/ravelinA/secrets.toml"
  both strongswan traced login_swan strongswan mschapv2
  check "a wrong password: refused with the reason" wait_until 15 log_has A 'carol does not know the password'
  check "a wrong password: no tunnel" not tunnel_up A
  check "a wrong password: the trace has the steps" log_has A 'EAP(Response MSCHAPv2)'
  check "a wrong password: passwords stay out of the log" not log_has A 'something else'
  stop_both
}

traced() { ravelin_do A trace net on && "$@"; }

ppk_config() { # START REQUIRED
  ravelin_config A "start=$1"
  printf 'ppk-id = "lab-ppk"\nppk = "%s"\n' "$2" >>"$LAB/ravelinA/ravelin.toml"
  printf '[[ppk]]\nid = "lab-ppk"\nkey-hex = "%s"\n' "$PPK" >>"$LAB/ravelinA/secrets.toml"
}
PPK=$(printf '0123456789abcdef%.0s' 1 2 3 4)

ppk_swan() { # ROLE REQUIRED
  local lines=
  [ "$2" = none ] || lines="ppk_id = lab-ppk
    ppk_required = $2"
  strongswan_start B "role=$1" "connection=$lines" "secrets=ppk-lab { id = lab-ppk
      secret = 0x$PPK }"
}

ppk() { # WHO_BEGINS OURS THEIRS
  local who=$1 start=respond role=initiator ours=required
  [ "$who" = strongswan ] || { start=immediately role=responder; }
  [ "$2" = yes ] || ours=if-available
  ppk_config "$start" "$ours"
  both "$who" ppk_swan "$role" "$3"
  works "PPK $ours, $who begins, strongSwan requires it: $3"
  [ "$3" = none ] || check "PPK, $who begins: strongSwan used it" grep -q 'using PPK' "$LAB/swanB/charon.log"
  stop_both
}

ppk_refused() {
  ppk_config respond required
  both strongswan ppk_swan initiator none
  check "a peer without the PPK: refused with the reason" wait_until 15 log_has A 'no post-quantum pre-shared key'
  check "a peer without the PPK: no tunnel" not tunnel_up A
  stop_both
}
