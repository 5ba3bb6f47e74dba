/* DPDK's inline functions, thread-local variables and bit fields as ordinary symbols, one line each. */
#include "shim.h"

/* LTO imports a function of more than 100 instructions (freeing an mbuf) into other modules only if it must be inlined. */
#ifdef __clang__
#define SHIM __attribute__((always_inline))
#else
#define SHIM
#endif

SHIM uint16_t tg_shim_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t len) { return rte_eth_rx_burst(port, queue, mbufs, len); }
SHIM uint16_t tg_shim_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t len) { return rte_eth_tx_burst(port, queue, mbufs, len); }
SHIM struct rte_mbuf *tg_shim_pktmbuf_alloc(struct rte_mempool *pool) { return rte_pktmbuf_alloc(pool); }
SHIM void tg_shim_pktmbuf_free(struct rte_mbuf *mbuf) { rte_pktmbuf_free(mbuf); }
SHIM uint64_t tg_shim_rdtsc(void) { return rte_rdtsc(); }
SHIM int tg_shim_errno(void) { return rte_errno; }
SHIM unsigned int tg_shim_lcore_id(void) { return rte_lcore_id(); }
SHIM unsigned int tg_shim_main_lcore(void) { return rte_get_main_lcore(); }
SHIM int tg_shim_link_is_up(uint16_t port) { struct rte_eth_link link = {0}; return rte_eth_link_get_nowait(port, &link) == 0 && link.link_status; }
