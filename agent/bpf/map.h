/* What the programs and the agent share. agent/src/bpf/layout.rs writes and reads the same bytes. */
#pragma once
#include "helper.h"

/* A device that a program is attached to, by its interface index. */
struct port {
	__u32 vni;
	__be32 vtep;       /* of this host, in this network */
	__be16 udp_port;   /* of VXLAN */
	__u8 source[6];    /* MAC of what this host sends directly: never the gateway's, never a VM's */
};

/* Where a packet may take a short way: from this network to this address. */
struct pair {
	__u32 vni;
	__be32 address;
};

/* A shortcut. Replaced as a whole, never written in place. */
struct shortcut {
	__u64 expires_ns;  /* since boot; no packet takes it from then on, whatever became of the agent */
	__u32 vni;         /* of the destination */
	__be32 vtep;       /* 0: the VM is on this host */
	__u32 underlay;    /* interface that leads there, or to the VM */
	__u32 slot;        /* of its counters */
	__u32 mtu;         /* longest IP packet of the VM that fits */
	__u8 gateway[6];   /* only frames for this MAC are routed */
	__u8 vm[6];
};

/* A VM of this host. */
struct vm {
	__u32 vni;
	__u8 mac[6];
	__u8 pad[2];
};

struct count {
	__u64 packets;
	__u64 bytes;
};

/* What the agent is told. */
enum { FRAME = 1, STRAY = 2 };
#define FRAME_MAX 1600
struct event {
	__u32 kind;
	__u32 ifindex;
	__u32 len;
	__u32 pad;
	__u8 frame[FRAME_MAX];
};

/* Statistics of the programs, in the order of agent/src/bpf/layout.rs. */
enum stat { ZSNP_FORGED, ZSNP_TAKEN, ZSNP_LOST, DIRECT_RECEIVED, STRAY_RECEIVED, TOO_LONG, EXPIRED, ENCAP_FAILED, STATS };

struct { SHAPE(type, BPF_MAP_TYPE_HASH); SHAPE(max_entries, 8192); FIELD(key, __u32); FIELD(value, struct port); }
ports SECTION(".maps");

struct { SHAPE(type, BPF_MAP_TYPE_HASH); SHAPE(max_entries, 131072); SHAPE(map_flags, BPF_F_NO_PREALLOC);
	 FIELD(key, struct pair); FIELD(value, struct shortcut); } shortcuts SECTION(".maps");

struct { SHAPE(type, BPF_MAP_TYPE_PERCPU_ARRAY); SHAPE(max_entries, 131072); FIELD(key, __u32); FIELD(value, struct count); }
counts SECTION(".maps");

struct { SHAPE(type, BPF_MAP_TYPE_HASH); SHAPE(max_entries, 65536); SHAPE(map_flags, BPF_F_NO_PREALLOC);
	 FIELD(key, struct vm); FIELD(value, __u8); } vms SECTION(".maps");

/* When the agent was last told of a sender that has an old address of a VM. */
struct { SHAPE(type, BPF_MAP_TYPE_LRU_HASH); SHAPE(max_entries, 4096); FIELD(key, struct pair); FIELD(value, __u64); }
told SECTION(".maps");

struct { SHAPE(type, BPF_MAP_TYPE_RINGBUF); SHAPE(max_entries, 1 << 20); } events SECTION(".maps");

struct { SHAPE(type, BPF_MAP_TYPE_PERCPU_ARRAY); SHAPE(max_entries, STATS); FIELD(key, __u32); FIELD(value, struct count); }
stats SECTION(".maps");

/* IP protocol number of ZSNP; the agent sets it when it loads the programs. */
const volatile __u32 zsnp_protocol = 253;

static __attribute__((always_inline)) inline void add(void *map, __u32 at, __u64 packets, __u64 bytes)
{
	struct count *count = map_lookup(map, &at);

	if (count) {
		count->packets += packets;
		count->bytes += bytes;
	}
}
