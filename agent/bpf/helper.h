/* The kernel's helpers that the programs call, as linux/bpf.h numbers them: no header of libbpf is needed to build. */
#pragma once
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#define SECTION(name) __attribute__((section(name), used))
#define FIELD(name, type) type *name
#define SHAPE(name, number) int (*name)[number]

static void *(*const map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const map_update)(void *map, const void *key, const void *value, __u64 flags) =
	(void *)BPF_FUNC_map_update_elem;
static __u64 (*const boot_ns)(void) = (void *)BPF_FUNC_ktime_get_boot_ns;
static long (*const pull)(struct __sk_buff *, __u32 len) = (void *)BPF_FUNC_skb_pull_data;
static long (*const load)(const void *skb, __u32 at, void *to, __u32 len) = (void *)BPF_FUNC_skb_load_bytes;
static long (*const store)(struct __sk_buff *, __u32 at, const void *from, __u32 len, __u64 flags) =
	(void *)BPF_FUNC_skb_store_bytes;
static long (*const l3_csum_replace)(struct __sk_buff *, __u32 at, __u64 from, __u64 to, __u64 size) =
	(void *)BPF_FUNC_l3_csum_replace;
static long (*const adjust_room)(struct __sk_buff *, __s32 len, __u32 mode, __u64 flags) =
	(void *)BPF_FUNC_skb_adjust_room;
static __u32 (*const flow_hash)(struct __sk_buff *) = (void *)BPF_FUNC_get_hash_recalc;
static long (*const redirect_neigh)(__u32 ifindex, void *params, int len, __u64 flags) =
	(void *)BPF_FUNC_redirect_neigh;
static long (*const redirect)(__u32 ifindex, __u64 flags) = (void *)BPF_FUNC_redirect;
static void *(*const ring_reserve)(void *ring, __u64 size, __u64 flags) = (void *)BPF_FUNC_ringbuf_reserve;
static void (*const ring_submit)(void *data, __u64 flags) = (void *)BPF_FUNC_ringbuf_submit;
static void (*const ring_discard)(void *data, __u64 flags) = (void *)BPF_FUNC_ringbuf_discard;

static inline __u16 be16(__u16 v) { return __builtin_bswap16(v); }
static inline __u32 be32(__u32 v) { return __builtin_bswap32(v); }
