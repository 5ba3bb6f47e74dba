/* What bindgen reads: DPDK's headers, and below them what they offer only as `static inline` or as a macro. */
#ifndef TG_SHIM_H
#define TG_SHIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stddef.h>
#include <stdio.h>

#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

/* Where the fields of an mbuf are. The struct itself is opaque to Rust: its unions differ from release to release. */
enum {
	TG_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	TG_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	TG_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	TG_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	TG_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	TG_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	TG_MBUF_NEXT = offsetof(struct rte_mbuf, next),
	TG_HEADROOM = RTE_PKTMBUF_HEADROOM,
	TG_ETHER_HDR_LEN = RTE_ETHER_HDR_LEN,
	TG_ETHER_CRC_LEN = RTE_ETHER_CRC_LEN,
};

/* Flags that are macros with casts or shifts, which bindgen leaves out. */
static const uint64_t TG_RSS_IP_TCP_UDP = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;
static const uint64_t TG_TX_OFFLOAD_FAST_FREE = RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
static const uint32_t TG_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
static const uint32_t TG_MQ_RX_NONE = RTE_ETH_MQ_RX_NONE;

uint16_t tg_shim_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t len);
uint16_t tg_shim_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t len);
struct rte_mbuf *tg_shim_pktmbuf_alloc(struct rte_mempool *pool);
void tg_shim_pktmbuf_free(struct rte_mbuf *mbuf);
uint64_t tg_shim_rdtsc(void);
int tg_shim_errno(void);
unsigned int tg_shim_lcore_id(void);
unsigned int tg_shim_main_lcore(void);
int tg_shim_link_is_up(uint16_t port);

#endif
