"""Frames by hand: Ethernet, IPv4, UDP, ICMP, ESP and IKE headers, right or deliberately wrong."""
import socket
import struct


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def ethernet(dst, src, payload, ethertype=0x0800):
    return mac(dst) + mac(src) + struct.pack("!H", ethertype) + payload


def ipv4(src, dst, protocol, payload, *, length=None, ihl=5, options=b"", ttl=64, ident=1, fragment=0, tos=0,
         version=4, check=None):
    ihl = ihl + len(options) // 4
    total = ihl * 4 + len(payload) if length is None else length
    head = struct.pack("!BBHHHBBH4s4s", version << 4 | (ihl & 15), tos, total & 0xFFFF, ident, fragment, ttl, protocol,
                       0, socket.inet_aton(src), socket.inet_aton(dst)) + options
    value = checksum(head) if check is None else check
    return head[:10] + struct.pack("!H", value) + head[12:] + payload


def udp(src_port, dst_port, payload, *, length=None):
    total = 8 + len(payload) if length is None else length
    return struct.pack("!HHHH", src_port, dst_port, total & 0xFFFF, 0) + payload


def icmp_echo(ident, number, payload=b"ravelin"):
    body = struct.pack("!BBHHH", 8, 0, 0, ident, number) + payload
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


def esp(spi, sequence, body):
    return struct.pack("!II", spi, sequence) + body


def ike_header(initiator, responder, next_payload, exchange, flags, message_id, length, version=0x20):
    return struct.pack("!8s8sBBBBII", initiator, responder, next_payload, version, exchange, flags, message_id,
                       length & 0xFFFFFFFF)


class Parsed:
    """Where the ESP part of a frame lies: plain ESP or in UDP 4500."""

    def __init__(self, frame):
        self.frame = bytearray(frame)
        self.ip = 14
        ihl = (frame[14] & 15) * 4
        self.protocol = frame[23]
        self.l4 = 14 + ihl
        self.end = 14 + struct.unpack_from("!H", frame, 16)[0]
        self.esp = self.l4 if self.protocol == 50 else self.l4 + 8

    def with_esp(self, part):
        """The frame with another ESP part; lengths and checksums made right again."""
        head = bytes(self.frame[self.ip:self.l4])
        src, dst = socket.inet_ntoa(head[12:16]), socket.inet_ntoa(head[16:20])
        if self.protocol == 17:
            sport, dport = struct.unpack_from("!HH", self.frame, self.l4)
            part = udp(sport, dport, part)
        return bytes(self.frame[:14]) + ipv4(src, dst, self.protocol, part, ident=struct.unpack_from("!H", head, 4)[0])

    def esp_part(self):
        return bytes(self.frame[self.esp:self.end])


def read_hex(path):
    with open(path) as lines:
        return [bytes.fromhex(line) for line in lines if line.strip()]


def write_hex(path, frames):
    with open(path, "w") as out:
        out.writelines(f.hex() + "\n" for f in frames)
