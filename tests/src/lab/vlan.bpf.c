/* 802.1Q for an interface of the lab, as a VLAN device does it: every frame out gets tag VID, frames in must have it and
 * lose it. Loaded by vlan.rs; a VLAN device is not in every kernel, traffic control with BPF is. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

static long (*vlan_push)(struct __sk_buff *, __be16, __u16) = (void *)BPF_FUNC_skb_vlan_push;
static long (*vlan_pop)(struct __sk_buff *) = (void *)BPF_FUNC_skb_vlan_pop;

__attribute__((section("push"), used))
int vlan_egress(struct __sk_buff *skb)
{
	return vlan_push(skb, __builtin_bswap16(0x8100), VID) ? TC_ACT_SHOT : TC_ACT_OK;
}

__attribute__((section("pop"), used))
int vlan_ingress(struct __sk_buff *skb)
{
	if (!skb->vlan_present || (skb->vlan_tci & 0xfff) != VID)
		return TC_ACT_SHOT;
	return vlan_pop(skb) ? TC_ACT_SHOT : TC_ACT_OK;
}

__attribute__((section("license"), used)) char licence[] = "GPL";
