#!/bin/sh
# pktgen of the Linux kernel (CONFIG_NET_PKTGEN; root): packets as those of a scenario, from an interface that is cabled to the gateway's port where
# they arrive. 64 bytes with FCS, from random sources; scenarios whose packets come from the world, without tunnel.
#
#   linux_pktgen.sh ip4|session|pf-in|lb-in INTERFACE [PACKETS]
#
# Prints what the kernel says of it: packets, seconds, pps. What of them arrived, the gateway says: tidegate show ports.
set -eu
scenario=${1:?which scenario?} interface=${2:?which interface?} packets=${3:-10000000}
# Another directory for tests.
control=${PKTGEN:-/proc/net/pktgen}

case $scenario in
ip4 | session) mac=02:00:00:00:00:01 src='10.1.0.1 10.1.0.200' dst='96.0.0.0 111.255.255.255' ports='443 443' ;;
pf-in) mac=02:00:00:00:00:02 src='96.0.0.0 111.255.255.255' dst='203.0.113.100 203.0.113.100' ports='2000 2999' ;;
lb-in) mac=02:00:00:00:00:02 src='96.0.0.0 111.255.255.255' dst='203.0.113.100 203.0.113.100' ports='80 80' ;;
*) echo "there is nothing for $scenario: ip4, session, pf-in, lb-in" >&2; exit 2 ;;
esac
[ -d "$control" ] || modprobe pktgen 2>/dev/null || { echo "this kernel has no pktgen (CONFIG_NET_PKTGEN)" >&2; exit 1; }

order() { echo "$2" >> "$control/$1"; }
range() { order "$interface" "$1_min ${2% *}"; order "$interface" "$1_max ${2#* }"; }

order kpktgend_0 rem_device_all
order kpktgend_0 "add_device $interface"
for setting in "count $packets" "delay 0" "clone_skb 0" "pkt_size 60" "dst_mac $mac"; do
    order "$interface" "$setting"
done
range src "$src"
range dst "$dst"
range udp_src '1024 61023'
range udp_dst "$ports"
for flag in IPSRC_RND IPDST_RND UDPSRC_RND UDPDST_RND UDPCSUM; do
    order "$interface" "flag $flag"
done
# Returns when all are sent.
order pgctrl start
sed -n '/^Result/,$p' "$control/$interface"
