#!/usr/bin/python3
"""scapy opens and makes ESP and AH packets for the tests: an implementation that shares nothing with ours.

A request per line on standard input, an answer per line on standard output, both JSON; byte strings in hexadecimal.

  {"do": "open", "packet": IP packet, "seq": its 64-bit number, SA...}    -> {"bytes": inner packet}; with "clear" it is told
  {"do": "seal", "packet": inner IP packet, "seq": number, SA...}         -> {"bytes": IP packet}
  {"do": "fragment", "packet": IP packet, "size": of each}                -> {"parts": IP packets}
  {"do": "make", "protocol": number, "src", "dst", "ports": [2], "len"}   -> {"bytes": IP packet}
  {"do": "error", "of": IP packet, "src", "dst"}                          -> {"bytes": time exceeded, which quotes it whole}
  {"do": "translate", "packet": IP packet, "side": "src" or "dst", "addr", "port"} -> {"bytes": with that end, checksums made
                                    anew}; "quoted": of the packet that an ICMP error quotes, too, the other side
  SA: "spi", "crypt", "crypt_key" (with the salt), "auth", "auth_key", "esn", "udp", "src", "dst", "ah", "transport"

`open` also makes the same packet anew, from the inner packet and the IV, and demands the same octets behind the outer IP
header: padding, IV and lengths are then what scapy would have written. A refusal is an answer {"error": why}.
"""
import json
import struct
import sys

try:
    from scapy.layers.inet import ICMP, IP, TCP, UDP, ICMPerror, IPerror, TCPerror, UDPerror
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, fragment6, in6_chksum
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from scapy.layers.ipsec import AH, AUTH_ALGOS, CRYPT_ALGOS, ESP, IPSecIntegrityError, SecurityAssociation, zero_mutable_fields
    from scapy.packet import Raw, raw
except ImportError as missing:
    sys.exit(f"the oracle needs scapy with cryptography ({missing}): apt-get install python3-scapy python3-cryptography")


class HighHalf:
    """An integrity algorithm whose ICV covers the high half of the number too (RFC 4303 section 2.2.1). scapy knows
    that for AEAD only."""

    def __init__(self, algorithm, high):
        self.algorithm, self.high, self.icv_size = algorithm, high, algorithm.icv_size

    def icv(self, octets, key):
        mac = self.algorithm.new_mac(key)
        mac.update(octets + struct.pack("!I", self.high))
        return mac.finalize()[: self.icv_size]

    def sign(self, packet, key, **_):
        packet[ESP].data += self.icv(raw(packet[ESP]), key)
        return packet

    def verify(self, packet, key, **_):
        octets = raw(packet[ESP])
        if self.icv(octets[: -self.icv_size], key) != octets[-self.icv_size :]:
            raise IPSecIntegrityError("ICV with the high half of the number")


class Around:
    """An integrity algorithm of AH. Where scapy finds ESP within AH it signs that instead: here it does not find it."""

    def __init__(self, algorithm):
        self.algorithm, self.icv_size = algorithm, algorithm.icv_size

    def sign(self, packet, key, **more):
        if ESP in packet:
            inner = raw(packet[AH].payload)
            packet[AH].remove_payload()
            packet = packet / Raw(inner)
        return self.algorithm.sign(packet, key, **more)

    def verify(self, packet, key, **more):
        self.algorithm.verify(packet, key, **more)


class Gmac(type(CRYPT_ALGOS["AES-GCM"])):
    """AES-GMAC (RFC 4543), which scapy does not know: GCM of nothing, with all of the packet as additional data."""

    def __init__(self):
        super().__init__("AES-NULL-GMAC", cipher=AESGCM, mode=None, salt_size=4, block_size=1, iv_size=8, icv_size=16,
                         key_size=(16, 24, 32))

    def covered(self, esp, esn_en, esn, octets):
        number = struct.pack("!LL", esn, esp.seq) if esn_en else struct.pack("!L", esp.seq)
        return struct.pack("!L", esp.spi) + number + octets

    def encrypt(self, sa, esp, key, icv_size=None, esn_en=False, esn=0):
        octets = esp.iv + esp.data_for_encryption()
        tag = AESGCM(key).encrypt(sa.crypt_salt + esp.iv, b"", self.covered(esp, esn_en, esn, octets))
        return ESP(spi=esp.spi, seq=esp.seq, data=octets + tag)

    def decrypt(self, sa, esp, key, icv_size=None, esn_en=False, esn=0):
        octets, tag = esp.data[:-16], esp.data[-16:]
        try:
            AESGCM(key).decrypt(sa.crypt_salt + octets[:8], tag, self.covered(esp, esn_en, esn, octets))
        except InvalidTag as error:
            raise IPSecIntegrityError(error)
        # The same octets as those of a packet that is not encrypted at all.
        plain = ESP(spi=esp.spi, seq=esp.seq, data=octets[8:])
        return CRYPT_ALGOS["NULL"].decrypt(sa, plain, b"")


class GmacOfAh:
    """AES-GMAC of AH (RFC 4543 section 4): the authentication data are an IV and the tag of all that scapy finds immutable."""

    name, icv_size, key_size = "AES-GMAC", 24, (20, 28, 36)

    def __init__(self, iv=None):
        self.iv = iv

    def check_key(self, key):
        if len(key) not in self.key_size:
            raise TypeError(f"{len(key)} octets of key and salt")

    def data(self, packet, key, iv, sending, esn_en, esn):
        octets = raw(zero_mutable_fields(packet.copy(), sending=sending)) + (struct.pack("!L", esn) if esn_en else b"")
        return iv + AESGCM(key[:-4]).encrypt(key[-4:] + iv, b"", octets)

    def sign(self, packet, key, esn_en=False, esn=0):
        # Whoever checks it takes any IV.
        iv = self.iv or struct.pack("!Q", ~packet[AH].seq & 0xFFFFFFFFFFFFFFFF)
        packet[AH].icv = self.data(packet, key, iv, True, esn_en, esn)
        return packet

    def verify(self, packet, key, esn_en=False, esn=0):
        ah = packet[AH]
        ah.icv, ah.padding = ah.icv[:24], ah.icv[24:]
        if self.data(packet, key, ah.icv[:8], False, esn_en, esn) != ah.icv:
            raise IPSecIntegrityError("AES-GMAC of AH")


CRYPT_ALGOS["AES-NULL-GMAC"] = Gmac()
AUTH_ALGOS["AES-GMAC"] = GmacOfAh()


def outer_header(ask):
    if ":" in ask["src"]:
        return IPv6(src=ask["src"], dst=ask["dst"])
    return IP(src=ask["src"], dst=ask["dst"], flags="DF", id=0)


EXTENSIONS = (0, 43, 60)


def ip(octets):
    """The packet, its payload a string of octets: scapy shall not understand it and build it anew. Extension headers it
    has to understand."""
    if octets[0] >> 4 == 6:
        if octets[6] in EXTENSIONS:
            return IPv6(octets)
        return IPv6(octets[:40]) / Raw(octets[40:])
    header = 4 * (octets[0] & 15)
    return IP(octets[:header]) / Raw(octets[header:])


def association(ask, iv=None):
    high, low = divmod(ask["seq"], 1 << 32)
    sa = SecurityAssociation(
        AH if ask["ah"] else ESP,
        spi=ask["spi"],
        seq_num=low,
        crypt_algo=None if ask["ah"] else ask["crypt"],
        crypt_key=None if ask["ah"] else bytes.fromhex(ask["crypt_key"]),
        auth_algo=ask["auth"],
        auth_key=bytes.fromhex(ask["auth_key"]),
        tunnel_header=None if ask["transport"] else outer_header(ask),
        nat_t_header=UDP(sport=4500, dport=4500) if ask["udp"] else None,
        esn_en=ask["esn"],
        esn=high,
    )
    if ask["esn"] and ask["auth"] != "NULL" and not ask["ah"]:
        sa.auth_algo = HighHalf(sa.auth_algo, high)
    if ask["ah"]:
        sa.auth_algo = Around(GmacOfAh(iv) if ask["auth"] == "AES-GMAC" else sa.auth_algo)
    return sa


def seal(ask, iv=None):
    sealed = association(ask, iv).encrypt(ip(bytes.fromhex(ask["packet"])), iv=iv)
    if ask["udp"]:
        # scapy computes both before the ESP packet is there. Over IPv6 there has to be a checksum.
        sealed[UDP].len = len(sealed[UDP])
        sealed[UDP].chksum = 0
        if IPv6 in sealed:
            sealed[IPv6].plen = len(sealed[UDP])
            sealed[UDP].chksum = in6_chksum(17, sealed[IPv6], raw(sealed[UDP])) or 0xFFFF
    return raw(sealed)


def unseal(ask):
    octets = bytes.fromhex(ask["packet"])
    sealed = IPv6(octets) if octets[0] >> 4 == 6 else IP(octets)
    header = 40 if octets[0] >> 4 == 6 else 20
    if ask["ah"]:
        return unseal_ah(ask, octets, sealed)
    if (UDP in sealed) != ask["udp"] or ESP not in sealed:
        raise ValueError(f"not the expected encapsulation: {sealed.summary()}")
    esp = raw(sealed[ESP])
    sa = association(ask)
    if struct.unpack_from("!II", esp) != (ask["spi"], sa.seq_num):
        raise ValueError("another SPI or number")
    iv = esp[8 : 8 + sa.crypt_algo.iv_size]
    # Behind a routing header scapy takes what it decrypted for another one: there the caller says what it should be.
    inner = bytes.fromhex(ask["clear"]) if "clear" in ask else raw(sa.decrypt(sealed))
    again = seal(dict(ask, packet=inner.hex()), iv=iv)
    if again[header:] != octets[header:]:
        raise ValueError(f"scapy would have written {again.hex()}")
    return inner


def unseal_ah(ask, octets, sealed):
    header = 40 if octets[0] >> 4 == 6 else 20
    if AH not in sealed or (sealed[AH].spi, sealed[AH].seq) != (ask["spi"], ask["seq"] & 0xFFFFFFFF):
        raise ValueError(f"not the expected AH: {sealed.summary()}")
    iv = bytes(sealed[AH].icv[:8])
    inner = raw(association(ask).decrypt(sealed))
    again = seal(dict(ask, packet=inner.hex()), iv=iv)
    if again[header:] != octets[header:]:
        raise ValueError(f"scapy would have written {again.hex()}")
    return inner


def fragment(ask):
    """IPv6 is cut behind its hop-by-hop options."""
    octets, size = bytes.fromhex(ask["packet"]), ask["size"]
    if octets[0] >> 4 == 4:
        return IP(octets).fragment(size - 20)
    whole = IPv6(octets[:40])
    whole.remove_payload()
    if octets[6] == 0:
        options = IPv6ExtHdrHopByHop(octets[40:])
        rest = raw(options.payload)
        options.remove_payload()
        next_header, whole = options.nh, whole / options
    else:
        next_header, rest = whole.nh, octets[40:]
    cut = IPv6ExtHdrFragment(nh=next_header, id=ask["size"])
    whole.lastlayer().nh = 44
    return fragment6(whole / cut / Raw(rest), size)


def make(ask):
    (a, b), body = ask["ports"], bytes(n % 251 for n in range(ask["len"]))
    upper = {
        6: TCP(sport=a, dport=b, seq=1000, flags="PA"),
        17: UDP(sport=a, dport=b),
        1: ICMP(type=8, id=a, seq=7),
    }
    head = IP(src=ask["src"], dst=ask["dst"], proto=ask["protocol"], id=4711, ttl=60)
    known = upper.get(ask["protocol"])
    return raw(head / known / Raw(body) if known else head / Raw(body))


def error(ask):
    return raw(IP(src=ask["src"], dst=ask["dst"], ttl=60) / ICMP(type=11, code=0) / IP(bytes.fromhex(ask["of"])))


def change(header, side, ask):
    setattr(header, side, ask["addr"])
    del header.chksum
    upper = header.payload
    if isinstance(upper, (TCP, UDP, TCPerror, UDPerror)):
        setattr(upper, {"src": "sport", "dst": "dport"}[side], ask["port"])
        del upper.chksum
    elif isinstance(upper, (ICMP, ICMPerror)):
        if upper.type in (0, 8):
            upper.id = ask["port"]
        del upper.chksum


def translate(ask):
    packet = IP(bytes.fromhex(ask["packet"]))
    change(packet, ask["side"], ask)
    if ask.get("quoted"):
        change(packet[IPerror], {"src": "dst", "dst": "src"}[ask["side"]], ask)
    return raw(packet)


def answer(line):
    ask = json.loads(line)
    try:
        if ask["do"] == "fragment":
            return {"parts": [raw(part).hex() for part in fragment(ask)]}
        return {"bytes": DO[ask["do"]](ask).hex()}
    except Exception as error:  # whatever scapy raises is its refusal
        return {"error": f"{type(error).__name__}: {error}"}


DO = {"open": unseal, "seal": seal, "make": make, "error": error, "translate": translate}


def main():
    for line in sys.stdin:
        print(json.dumps(answer(line)), flush=True)


main()
