"""scapy's GRE: for each line of JSON, the outer packet around an inner one, as hexadecimal digits."""
import json
import sys

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE
from scapy.packet import Raw

for line in sys.stdin:
    it = json.loads(line)
    fields = {"proto": it["protocol"]}
    if it["key"] is not None:
        fields.update(key_present=1, key=it["key"])
    if it["sequence"] is not None:
        fields.update(seqnum_present=1, sequence_number=it["sequence"])
    if it["checksum"]:
        fields["chksum_present"] = 1
    if ":" in it["src"]:
        outer = IPv6(src=it["src"], dst=it["dst"], tc=it["tos"], hlim=64)
    else:
        outer = IP(src=it["src"], dst=it["dst"], tos=it["tos"], ttl=64, id=it["id"], flags="DF")
    print(bytes(outer / GRE(**fields) / Raw(bytes.fromhex(it["inner"]))).hex())
