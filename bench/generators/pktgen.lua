-- Pktgen-DPDK: the frames of a scenario from port 0, as fast as the card sends, and what comes back.
--
--   tidegate-bench write vxlan-snat --flows 10000 --pcap f.pcap
--   pktgen -l 0-2 -n 4 -- -P -m "1.0,2.1" -s 0:f.pcap -f pktgen.lua
--
-- Port 0 is where the scenario's frames arrive at the gateway, port 1 where they leave (both are port 0 for vxlan-vxlan).
package.path = package.path .. ";?.lua;Pktgen.lua"
require "Pktgen"

local SECONDS = 30

-- The size of the capture's frames stays; only the rate is ours.
pktgen.set("0", "rate", 100)
pktgen.pcap("0", "on")
pktgen.clear("all")
pktgen.start("0")
pktgen.delay(SECONDS * 1000)
local rate = pktgen.portStats("all", "rate")
pktgen.stop("0")
pktgen.delay(1000)
local sum = pktgen.portStats("all", "port")

printf("sent      %d frames, %.3f Mpps at the end\n", sum[0].opackets, rate[0].pkts_tx / 1e6)
printf("received  %d frames, %.3f Mpps at the end\n", sum[1].ipackets, rate[1].pkts_rx / 1e6)
printf("lost      %d frames\n", sum[0].opackets - sum[1].ipackets - sum[0].ipackets)
pktgen.quit()
