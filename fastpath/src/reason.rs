//! Why a packet left the packet path, and what else is worth counting. Each name is declared once here; the enum, the
//! per-worker counters, the metric label, the `show drops` line and the table in `docs/drops.md` all grow from it.

/// Declares a one-byte enum whose variants carry a metric label and a phrase (their doc comment).
#[macro_export]
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $( $(#[doc = $phrase:literal])+ $variant:ident = $label:literal, )+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $( $(#[doc = $phrase])+ $variant, )+ }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: &[$name] = &[$( $name::$variant, )+];
            /// How many there are.
            pub const COUNT: usize = $name::ALL.len();

            /// The place in a counter array.
            pub const fn index(self) -> usize {
                self as usize
            }

            /// The metric label.
            pub const fn label(self) -> &'static str {
                match self { $( $name::$variant => $label, )+ }
            }

            /// The reason in words.
            pub const fn phrase(self) -> &'static str {
                match self { $( $name::$variant => concat!($($phrase),+).trim_ascii(), )+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.label())
            }
        }
    };
}

reasons! {
    /// Why a packet was dropped: the exit, the counter, the metric label and the trace line.
    DropReason {
        /// Shorter than its Ethernet (and VLAN) header.
        RuntFrame = "runt_frame",
        /// The buffer has several segments, which the engine does not read; raise the port's MTU.
        MultiSegment = "multi_segment",
        /// Destination MAC is neither ours nor a group address.
        NotOurMac = "not_our_mac",
        /// Source MAC is a group address (IEEE 802.3 allows none).
        SourceMac = "source_mac",
        /// No network is attached to this port and VLAN.
        UnknownVlan = "unknown_vlan",
        /// EtherType is neither IPv4 nor ARP.
        UnknownEthertype = "unknown_ethertype",
        /// The ARP packet is not well-formed Ethernet/IPv4 ARP (RFC 826).
        ArpMalformed = "arp_malformed",
        /// An ARP request for an address that is not ours; VMs of one network ask each other.
        ArpNotOurs = "arp_not_ours",
        /// Not IP version 4.
        IpVersion = "ip_version",
        /// IHL below 5 words, or beyond the packet (RFC 1812 §5.2.2).
        IpHeaderLength = "ip_header_length",
        /// Total length below the header's or beyond the frame (RFC 1812 §5.2.2).
        IpTruncated = "ip_truncated",
        /// IPv4 header checksum is wrong (RFC 1812 §5.2.2).
        IpChecksum = "ip_checksum",
        /// Strict or loose source route option (refused; RFC 7126 §4.3).
        IpSourceRoute = "ip_source_route",
        /// Malformed IPv4 options.
        IpOptions = "ip_options",
        /// Source address that no host may use here: 0/8, 127/8, multicast, 240/4, broadcast (RFC 1812 §5.3.7).
        MartianSource = "martian_source",
        /// Destination address that is never forwarded: 0/8, 127/8, 240/4 (RFC 1812 §5.3.7).
        MartianDestination = "martian_destination",
        /// Source or destination 169.254/16 is not forwarded (RFC 3927 §7).
        LinkLocal = "link_local",
        /// IPv4 multicast is not forwarded.
        Multicast = "multicast",
        /// Limited or directed broadcast is not forwarded (RFC 2644).
        Broadcast = "broadcast",
        /// VXLAN header cut short.
        VxlanTruncated = "vxlan_truncated",
        /// VXLAN I flag clear (RFC 7348 §5).
        VxlanFlags = "vxlan_flags",
        /// The outer packet of a VXLAN frame is a fragment (RFC 7348 §4.3: VTEPs do not fragment).
        VxlanFragment = "vxlan_fragment",
        /// The outer UDP checksum is there and wrong.
        VxlanChecksum = "vxlan_checksum",
        /// No network has this VNI on this VTEP.
        UnknownVni = "unknown_vni",
        /// Outer ECN says congestion experienced, inner is not ECN-capable (RFC 6040 §4.2).
        EcnNotCapable = "ecn_not_capable",
        /// The inner frame has a VLAN tag (RFC 7348 §6.1).
        VxlanInnerVlan = "vxlan_inner_vlan",
        /// No route to the destination.
        NoRoute = "no_route",
        /// A blackhole route.
        Blackhole = "blackhole",
        /// The route's network is down, or a leak between routing tables did not end.
        RouteUnusable = "route_unusable",
        /// TTL ran out (RFC 1812 §5.3.1).
        TtlExceeded = "ttl_exceeded",
        /// Larger than the next network's MTU with DF set (RFC 1191).
        NeedsFragmentation = "needs_fragmentation",
        /// The next hop answered no ARP in time.
        NeighbourUnresolved = "neighbour_unresolved",
        /// Too many packets already wait.
        HoldFull = "hold_full",
        /// Local delivery: more than the punt rate of this kind.
        PuntLimited = "punt_limited",
        /// Local delivery: control does not keep up.
        PuntFull = "punt_full",
        /// ICMP to the gateway: cut short or wrong checksum.
        IcmpMalformed = "icmp_malformed",
        /// A packet out of a VPC whose sender has neither EIP nor SNAT.
        NotTranslated = "not_translated",
        /// A packet to a public address and port that no service has.
        NoService = "no_service",
        /// A translated packet that cannot open a session, and there is none: TCP without SYN, an ICMP error about nothing.
        NoSession = "no_session",
        /// The remote is not in `allowed_cidr` of the port forward.
        ForwardDenied = "forward_denied",
        /// The client is not allowed by `access` of the listener.
        ListenerDenied = "listener_denied",
        /// A new connection above `max_connections` of the listener.
        ListenerFull = "listener_full",
        /// A new connection, and all backends have as many as they may.
        BackendsFull = "backends_full",
        /// A new connection to a listener none of whose backends takes one.
        NoBackend = "no_backend",
        /// A reset by which a backend of a listener answered a SYN: the client's next SYN goes to another backend.
        BackendRefused = "backend_refused",
        /// A TCP segment to a listener that is of no connection and does not open one.
        StraySegment = "stray_segment",
        /// No public port is left for this VM and remote.
        PortsExhausted = "ports_exhausted",
        /// A protocol without ports that another VM behind the same address uses with the same remote.
        AddressAmbiguous = "address_ambiguous",
        /// A new session, and the flow table is full.
        SessionTableFull = "session_table_full",
        /// A new session of a VM that has none, and there are `limits.nat_vms` already.
        VmsFull = "vms_full",
        /// A new session above `vm_sessions` of the VM.
        VmSessions = "vm_sessions",
        /// A new session above `vm_new_sessions_per_second` of the VM.
        VmSessionRate = "vm_session_rate",
        /// A new session above `sessions` of the VPC.
        VpcSessions = "vpc_sessions",
        /// A new session above `new_sessions_per_second` of the VPC.
        VpcSessionRate = "vpc_session_rate",
        /// A translated packet whose TCP, UDP or ICMP header is cut short.
        TransportTruncated = "transport_truncated",
        /// A fragment whose first fragment did not come in time.
        FragmentUnmatched = "fragment_unmatched",
        /// Too many fragments already wait for the first one of their datagram.
        FragmentHoldFull = "fragment_hold_full",
        /// Above the rate of a bucket (`qos`); `show qos` says which one.
        Policed = "policed",
        /// A ZSNP message (`gateway.zsnp.protocol`) that came from a VM or from outside: only hosts say them, on the underlay.
        ZsnpForged = "zsnp_forged",
        /// No free buffer to build or copy a packet in.
        NoBuffer = "no_buffer",
        /// No room in front of the packet for the headers it needs.
        NoHeadroom = "no_headroom",
        /// The port's transmit queue did not take it.
        TxFull = "tx_full",
        /// The worker was stopping.
        Shutdown = "shutdown",
    }
}

reasons! {
    /// What left the packet path towards the control thread.
    PuntReason {
        /// ARP replies and announcements, from which control learns neighbours.
        Arp = "arp",
        /// Packets for the gateway's own addresses, delivered into the VPC's namespace.
        Local = "local",
        /// ZSNP messages of hosts, on the underlay.
        Zsnp = "zsnp",
    }
}

reasons! {
    /// Things that happened beside the exits; none of them ends a packet.
    Event {
        /// Frames that did not come from a port: ICMP errors, injected packets, extra fragments and copies.
        Originated = "originated",
        /// A flow entry served the packet.
        FlowHit = "flow_hit",
        /// No flow entry; the packet was decided.
        FlowMiss = "flow_miss",
        /// A flow entry was stored.
        FlowLearn = "flow_learn",
        /// A flow entry of an older policy generation was decided again.
        FlowRedecide = "flow_redecide",
        /// No room for a flow entry; the packet went on uncached.
        FlowFull = "flow_full",
        /// Another worker was changing the same bucket; the packet went on uncached.
        FlowBusy = "flow_busy",
        /// Flow entries removed because of time.
        FlowExpire = "flow_expire",
        /// ARP requests for our addresses answered.
        ArpReply = "arp_reply",
        /// Echo requests to our addresses answered.
        EchoReply = "echo_reply",
        /// ICMP errors sent.
        IcmpError = "icmp_error",
        /// ICMP errors not sent: over the rate limit (RFC 1812 §4.3.2.8).
        IcmpErrorLimited = "icmp_error_limited",
        /// ICMP errors not sent because the packet must not cause one (RFC 1122 §3.2.2).
        IcmpErrorForbidden = "icmp_error_forbidden",
        /// TCP resets sent about segments to listeners.
        TcpReset = "tcp_reset",
        /// TCP resets not sent: over the rate limit, or about what gets none.
        TcpResetNotSent = "tcp_reset_not_sent",
        /// TCP SYNs whose MSS was lowered.
        MssClamped = "mss_clamped",
        /// Packets cut into fragments.
        Fragmented = "fragmented",
        /// Packets that showed a VM behind another VTEP than known.
        Moved = "moved",
        /// Packets that showed a move and went on before control had followed it: not told, no room to wait, or too slow.
        MoveUnanswered = "move_unanswered",
        /// Translated sessions opened.
        SessionOpen = "session_open",
        /// Translated sessions ended.
        SessionEnd = "session_end",
        /// Port blocks and sessions that the session log was not told of: its ring was full.
        LogFull = "log_full",
        /// Translated packets that went on to another address of ours.
        Hairpin = "hairpin",
        /// Fragmented datagrams whose ports were noted: of translated flows, and of VMs that a service leads to.
        FragmentNoted = "fragment_noted",
        /// Fragmented datagrams whose ports were not noted: too many per second, or no room in the flow table.
        FragmentNotNoted = "fragment_not_noted",
        /// ICMP errors about translated packets translated.
        IcmpErrorTranslated = "icmp_error_translated",
        /// Notices to control refused: over their rate, or the ring was full.
        NoticeFull = "notice_full",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_fit_a_metric() {
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::COUNT);
        assert!(labels.iter().all(|l| l.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }
}
