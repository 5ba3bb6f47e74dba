/* Two programs of traffic control. vm_ingress sees what a VM sends, before the bridge does; vxlan_ingress sees what comes
 * out of a tunnel, before the bridge does. Whatever they do not name goes on as if they were not there. */
#include "map.h"

#define VXLAN_LEN 8
#define ROOM ((int)(sizeof(struct iphdr) + sizeof(struct udphdr) + VXLAN_LEN + ETH_HLEN))
#define TTL_AT (ETH_HLEN + __builtin_offsetof(struct iphdr, ttl))
#define CHECK_AT (ETH_HLEN + __builtin_offsetof(struct iphdr, check))
#define TTL 64
#define DONT_FRAGMENT 0x4000
#define IP_LEN_MAX 65535
#define TOLD_AGAIN_NS 100000000ull

/* The headers before a packet in a tunnel, behind the outer Ethernet header, which the kernel writes. */
struct tunnel {
	struct iphdr ip;
	struct udphdr udp;
	__be32 vxlan_flags;
	__be32 vni;
	struct ethhdr ethernet;
} __attribute__((packed));

static __attribute__((always_inline)) inline void count(enum stat stat, __u64 bytes)
{
	add(&stats, stat, 1, bytes);
}

/* Whether so many bytes can be read where the packet's data begins. */
static __attribute__((always_inline)) inline int readable(struct __sk_buff *skb, __u32 len)
{
	return (void *)(long)skb->data + len <= (void *)(long)skb->data_end;
}

/* The IPv4 header of an untagged frame, or null. */
static __attribute__((always_inline)) inline struct iphdr *ipv4(struct __sk_buff *skb)
{
	const __u32 len = ETH_HLEN + sizeof(struct iphdr);
	void *data;

	if (skb->protocol != be16(ETH_P_IP) || skb->vlan_present || skb->len < len)
		return 0;
	if (!readable(skb, len) && pull(skb, len))
		return 0;
	data = (void *)(long)skb->data;
	return data + len > (void *)(long)skb->data_end ? 0 : data + ETH_HLEN;
}

static __attribute__((always_inline)) inline int same_mac(const __u8 *a, const __u8 *b)
{
	int differ = 0;

#pragma unroll
	for (int at = 0; at < 6; at++)
		differ |= a[at] ^ b[at];
	return !differ;
}

/* Bytes of the longest IP packet that this one becomes on a wire: itself, or a segment of it. */
static __attribute__((always_inline)) inline __u32 longest(struct __sk_buff *skb, __u8 protocol)
{
	struct tcphdr tcp;

	if (!skb->gso_size)
		return skb->len - ETH_HLEN;
	if (protocol != IPPROTO_TCP)
		return skb->gso_size + sizeof(struct iphdr) + sizeof(struct udphdr);
	if (load(skb, ETH_HLEN + sizeof(struct iphdr), &tcp, sizeof(tcp)))
		return ~0u;
	return skb->gso_size + sizeof(struct iphdr) + 4 * tcp.doff;
}

/* The sum of an IPv4 header that has 0 in its place (RFC 1071). */
static __attribute__((always_inline)) inline __u16 checksum(const struct iphdr *ip)
{
	const __u16 *word = (const void *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int at = 0; at < (int)sizeof(*ip) / 2; at++)
		sum += word[at];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

/* What a router changes in a frame, and the frame goes out to a VM of this host. */
static __attribute__((always_inline)) inline int
send_here(struct __sk_buff *skb, const struct port *port, const struct shortcut *to, __u16 ttl_word)
{
	__u16 less = be16(be16(ttl_word) - 0x100);
	__u8 macs[12];

	__builtin_memcpy(macs, to->vm, 6);
	__builtin_memcpy(macs + 6, port->source, 6);
	if (l3_csum_replace(skb, CHECK_AT, ttl_word, less, 2) || store(skb, TTL_AT, &less, 2, 0) ||
	    store(skb, 0, macs, sizeof(macs), 0)) {
		count(ENCAP_FAILED, 0);
		return TC_ACT_SHOT;
	}
	return redirect(to->underlay, 0);
}

/* The same, in a tunnel to the VM's host. */
static __attribute__((always_inline)) inline int
send_direct(struct __sk_buff *skb, const struct port *port, const struct shortcut *to, __u8 tos, __u16 ttl_word)
{
	__u16 less = be16(be16(ttl_word) - 0x100);
	__u16 len = be16(skb->len - ETH_HLEN + ROOM);
	__u32 hash = flow_hash(skb);
	/* ECN goes to the outside, congestion marks of the inside do not (RFC 6040, normal mode). */
	__u8 ecn = tos & 3;
	struct iphdr ip = { .version = 4, .ihl = 5, .tos = ecn == 3 ? 2 : ecn, .tot_len = len, .frag_off = be16(DONT_FRAGMENT),
			    .ttl = TTL, .protocol = IPPROTO_UDP, .saddr = port->vtep, .daddr = to->vtep };
	struct tunnel tunnel = {
		/* The source port spreads flows over paths (RFC 7348 §5). */
		.udp = { .source = be16(0xc000 | (hash & 0x3fff)), .dest = port->udp_port,
			 .len = be16(skb->len - ETH_HLEN + ROOM - sizeof(struct iphdr)) },
		.vxlan_flags = be32(0x08000000),
		.vni = be32(to->vni << 8),
	};

	__builtin_memcpy(tunnel.ethernet.h_dest, to->vm, 6);
	__builtin_memcpy(tunnel.ethernet.h_source, port->source, 6);
	tunnel.ethernet.h_proto = be16(ETH_P_IP);
	ip.check = checksum(&ip);
	tunnel.ip = ip;

	/* Room first: if there is none, the frame is still what it was. The VM's MSS leaves place for the headers already, so
	 * segments keep their size. */
	if (adjust_room(skb, ROOM, BPF_ADJ_ROOM_MAC,
			BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
				BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH)) {
		count(ENCAP_FAILED, 0);
		return TC_ACT_UNSPEC;
	}
	if (l3_csum_replace(skb, CHECK_AT + ROOM, ttl_word, less, 2) || store(skb, TTL_AT + ROOM, &less, 2, 0) ||
	    store(skb, ETH_HLEN, &tunnel, ROOM, 0)) {
		count(ENCAP_FAILED, 0);
		return TC_ACT_SHOT;
	}
	return redirect_neigh(to->underlay, 0, 0, 0);
}

SECTION("classifier") int vm_ingress(struct __sk_buff *skb)
{
	struct iphdr *ip = ipv4(skb);
	struct pair pair = {};
	const struct ethhdr *ethernet;
	const struct shortcut *shortcut;
	const struct port *port;
	__u32 ifindex = skb->ifindex;
	__u32 packets;
	__u64 bytes;
	__u8 tos;
	__u16 ttl_word;
	int verdict;

	if (!ip)
		return TC_ACT_UNSPEC;
	/* Only gateways and agents speak ZSNP. */
	if (ip->protocol == zsnp_protocol) {
		count(ZSNP_FORGED, skb->len);
		return TC_ACT_SHOT;
	}
	port = map_lookup(&ports, &ifindex);
	if (!port)
		return TC_ACT_UNSPEC;
	pair.vni = port->vni;
	pair.address = ip->daddr;
	shortcut = map_lookup(&shortcuts, &pair);
	ethernet = (void *)ip - ETH_HLEN;
	if (!shortcut || !same_mac(ethernet->h_dest, shortcut->gateway))
		return TC_ACT_UNSPEC;
	/* What a router answers or looks into is the gateway's: the end of a TTL, options, what is not as long as it says. */
	if (ip->ttl <= 1 || ip->ihl != 5 || be16(ip->tot_len) > skb->len - ETH_HLEN)
		return TC_ACT_UNSPEC;
	if (boot_ns() >= shortcut->expires_ns) {
		count(EXPIRED, skb->len);
		return TC_ACT_UNSPEC;
	}
	tos = ip->tos;
	ttl_word = *(__u16 *)&ip->ttl;
	if (longest(skb, ip->protocol) > shortcut->mtu || skb->len - ETH_HLEN + ROOM > IP_LEN_MAX) {
		count(TOO_LONG, skb->len);
		return TC_ACT_UNSPEC;
	}
	packets = skb->gso_segs ?: 1;
	bytes = skb->len - ETH_HLEN;
	verdict = shortcut->vtep ? send_direct(skb, port, shortcut, tos, ttl_word) : send_here(skb, port, shortcut, ttl_word);
	if (verdict == TC_ACT_REDIRECT)
		add(&counts, shortcut->slot, packets, bytes);
	return verdict;
}

/* Hands the first `len` bytes of a frame to the agent. */
static __attribute__((always_inline)) inline void tell(struct __sk_buff *skb, __u32 kind, __u32 len)
{
	struct event *event = ring_reserve(&events, sizeof(*event), 0);

	if (!event) {
		count(ZSNP_LOST, len);
		return;
	}
	event->kind = kind;
	event->ifindex = skb->ifindex;
	event->pad = 0;
	if (len > FRAME_MAX)
		len = FRAME_MAX;
	event->len = len;
	if (len < ETH_HLEN || load(skb, 0, event->frame, len))
		ring_discard(event, 0);
	else
		ring_submit(event, 0);
}

SECTION("classifier") int vxlan_ingress(struct __sk_buff *skb)
{
	struct iphdr *ip = ipv4(skb);
	const struct ethhdr *ethernet;
	const struct port *port;
	struct vm vm = {};
	struct pair from = {};
	__u32 ifindex = skb->ifindex;
	__u64 now, *last;

	if (!ip)
		return TC_ACT_UNSPEC;
	/* A VM must never see it. */
	if (ip->protocol == zsnp_protocol) {
		count(ZSNP_TAKEN, skb->len);
		tell(skb, FRAME, skb->len);
		return TC_ACT_SHOT;
	}
	ethernet = (void *)ip - ETH_HLEN;
	/* Agents send from 5a:53 and the address of their tunnel end. */
	if (ethernet->h_source[0] != 0x5a || ethernet->h_source[1] != 0x53 || (ethernet->h_dest[0] & 1))
		return TC_ACT_UNSPEC;
	port = map_lookup(&ports, &ifindex);
	if (!port)
		return TC_ACT_UNSPEC;
	count(DIRECT_RECEIVED, skb->len - ETH_HLEN);
	vm.vni = port->vni;
	__builtin_memcpy(vm.mac, ethernet->h_dest, 6);
	if (map_lookup(&vms, &vm))
		return TC_ACT_UNSPEC;
	count(STRAY_RECEIVED, skb->len - ETH_HLEN);
	__builtin_memcpy(&from.vni, &ethernet->h_source[2], 4);
	from.address = ip->daddr;
	now = boot_ns();
	last = map_lookup(&told, &from);
	if (last && now - *last < TOLD_AGAIN_NS)
		return TC_ACT_UNSPEC;
	map_update(&told, &from, &now, BPF_ANY);
	tell(skb, STRAY, ETH_HLEN + sizeof(struct iphdr));
	return TC_ACT_UNSPEC;
}

SECTION("license") char licence[] = "GPL";
