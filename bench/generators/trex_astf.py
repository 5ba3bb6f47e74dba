"""TRex with TCP (ASTF): new connections from VMs to the world, a request and an answer each, as `snat` and `session` have them.

    trex> start -f trex_astf.py -m 100000 -d 30

`-m` is connections per second. Clients are the VMs of a gateway that is configured as the scenario `snat` (10.1.0.0/17, not in
tunnels), servers are in 96.0.0.0/4; TRex's ports are the two networks of the gateway.
"""

from trex.astf.api import (
    ASTFAssociationRule,
    ASTFIPGen,
    ASTFIPGenDist,
    ASTFIPGenGlobal,
    ASTFProfile,
    ASTFProgram,
    ASTFTCPClientTemplate,
    ASTFTCPServerTemplate,
    ASTFTemplate,
)

REQUEST = b"GET / HTTP/1.1\r\nHost: world\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class NewConnections:
    """A profile as TRex loads it."""

    def get_profile(self, tunables=(), **_kwargs):
        client, server = ASTFProgram(), ASTFProgram()
        client.send(REQUEST)
        client.recv(len(ANSWER))
        server.recv(len(REQUEST))
        server.send(ANSWER)
        vms = ASTFIPGenDist(ip_range=["10.1.0.1", "10.1.0.250"], distribution="seq")
        world = ASTFIPGenDist(ip_range=["96.0.0.1", "96.0.255.254"], distribution="seq")
        addresses = ASTFIPGen(glob=ASTFIPGenGlobal(ip_offset="0.0.0.0"), dist_client=vms, dist_server=world)
        template = ASTFTemplate(
            client_template=ASTFTCPClientTemplate(program=client, ip_gen=addresses, cps=1, port=80),
            server_template=ASTFTCPServerTemplate(program=server, assoc=ASTFAssociationRule(port=80)),
        )
        return ASTFProfile(default_ip_gen=addresses, templates=template)


def register():
    return NewConnections()
