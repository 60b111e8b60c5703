"""Packets from 10.1.0.10 to 10.2.0.10 (2001:db8:1::10 to 2001:db8:2::10) made by scapy, one line each: KIND WHY HEX

KIND is `good` (WHY is a name), `header` (the IP header is malformed; WHY is the reason for which it is dropped) or
`anomaly` (the IP header holds, and something else does not).
"""
from scapy.all import ICMP, IP, TCP, UDP, ICMPv6EchoRequest, IPOption_NOP, IPv6, Raw

A, B = "10.1.0.10", "10.2.0.10"
A6, B6 = "2001:db8:1::10", "2001:db8:2::10"
DATA = Raw(b"0123456789abcdef")


def say(kind, why, packet):
    print(kind, why, bytes(packet).hex())


def ip(**fields):
    return IP(src=A, dst=B, **fields)


def six(**fields):
    return IPv6(src=A6, dst=B6, **fields)


def wrong(packet, layer):
    """With the checksum of a layer one off."""
    packet = packet.__class__(bytes(packet))
    packet[layer].chksum = (packet[layer].chksum + 1) % 0xFFFF or 5
    return packet


def header(why, at, value, packet=None, fix=False):
    """A byte of the header changed; `fix`: with a checksum that holds."""
    raw = bytearray(bytes(packet or ip() / UDP(sport=1000, dport=2000) / DATA))
    raw[at] = value
    if fix:
        raw[10:12] = b"\0\0"
        total = sum(int.from_bytes(raw[i:i + 2], "big") for i in range(0, (raw[0] & 15) * 4, 2))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        raw[10:12] = (~total & 0xFFFF).to_bytes(2, "big")
    say("header", why, raw)


tcp = TCP(sport=1000, dport=2000, seq=7, flags="A")
udp = UDP(sport=1000, dport=2000)

say("good", "tcp", ip() / tcp / DATA)
say("good", "syn", ip() / TCP(sport=1000, dport=2000, flags="SEC", options=[("MSS", 1460)]))
say("good", "reset", ip() / TCP(sport=1000, dport=2000, flags="R"))
say("good", "udp", ip() / udp / DATA)
say("good", "udp-without-checksum", ip() / UDP(sport=1000, dport=2000, chksum=0) / DATA)
say("good", "ping", ip() / ICMP() / DATA)
say("good", "gre", ip(proto=47) / DATA)
say("good", "first-fragment", ip(flags="MF") / Raw(bytes(udp / DATA)))
say("good", "last-fragment", ip(frag=3) / DATA)
say("good", "tcp6", six() / tcp / DATA)
say("good", "udp6", six() / udp / DATA)
say("good", "ping6", six() / ICMPv6EchoRequest(data=b"0123456789"))

header("bad_ip_version", 0, 0x55)
header("bad_ip_version", 0, 0x05)
header("bad_ip_header_length", 0, 0x44)
header("bad_ip_length", 3, 19)
header("bad_ip_length", 2, 0x40)
header("bad_ip_checksum", 11, 0x11)
raw = bytearray(bytes(ip(options=[IPOption_NOP()] * 4) / udp / DATA))
raw[20:24] = bytes([7, 1, 0, 0])
header("bad_option", 1, 0, raw, fix=True)
raw[20:24] = bytes([7, 40, 0, 0])
header("bad_option", 1, 0, raw, fix=True)
raw[20:24] = bytes([131, 3, 4, 0])
header("source_route", 1, 0, raw, fix=True)

say("anomaly", "ip_ttl_zero", ip(ttl=0) / udp / DATA)
say("anomaly", "ip_flags", ip(flags=4) / udp / DATA)
say("anomaly", "ip_flags", ip(flags="DF+MF") / udp / DATA)
say("anomaly", "ip_fragment_length", ip(flags="MF", frag=8, proto=17) / Raw(b"0123456789"))
say("anomaly", "ip_fragment_length", ip(frag=8189, proto=17) / Raw(b"0" * 64))
say("anomaly", "ip_tiny_fragment", ip(flags="MF", proto=6) / Raw(bytes(tcp)[:16]))
say("anomaly", "ip_tiny_fragment", ip(frag=1, proto=6) / Raw(b"0" * 16))
say("anomaly", "tcp_header", ip(proto=6) / Raw(bytes(tcp)[:19]))
say("anomaly", "tcp_header", ip() / TCP(sport=1000, dport=2000, flags="A", dataofs=4))
say("anomaly", "tcp_header", ip() / TCP(sport=1000, dport=2000, flags="A", dataofs=12))
say("anomaly", "tcp_port_zero", ip() / TCP(sport=0, dport=2000, flags="A"))
say("anomaly", "tcp_port_zero", ip() / TCP(sport=1000, dport=0, flags="A"))
for flags in ["", "SF", "SR", "SU", "F", "FPU", "P", "RF"]:
    say("anomaly", "tcp_flags", ip() / TCP(sport=1000, dport=2000, flags=flags))
say("anomaly", "tcp_checksum", wrong(ip() / tcp / DATA, TCP))
say("anomaly", "udp_length", ip(proto=17) / Raw(bytes(udp)[:7]))
say("anomaly", "udp_length", ip() / UDP(sport=1000, dport=2000, len=7) / DATA)
say("anomaly", "udp_length", ip() / UDP(sport=1000, dport=2000, len=400) / DATA)
say("anomaly", "udp_port_zero", ip() / UDP(sport=0, dport=2000) / DATA)
say("anomaly", "udp_port_zero", ip() / UDP(sport=1000, dport=0) / DATA)
say("anomaly", "udp_checksum", wrong(ip() / udp / DATA, UDP))
say("anomaly", "icmp_length", ip(proto=1) / Raw(b"\x08\0\xf7\xff"))
say("anomaly", "icmp_checksum", wrong(ip() / ICMP() / DATA, ICMP))
say("anomaly", "ip_ttl_zero", six(hlim=0) / udp / DATA)
say("anomaly", "tcp_flags", six() / TCP(sport=1000, dport=2000, flags="SF"))
say("anomaly", "tcp_checksum", wrong(six() / tcp / DATA, TCP))
say("anomaly", "udp_checksum", six() / UDP(sport=1000, dport=2000, chksum=0) / DATA)
say("anomaly", "udp_checksum", wrong(six() / udp / DATA, UDP))
