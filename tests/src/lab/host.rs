//! Compute hosts as a cloud has them: a kernel VXLAN device and a bridge per network, VMs on the bridge.

use anyhow::Result;

use super::{Lab, Netns};

/// The underlay: one Ethernet switch.
#[derive(Debug)]
pub struct Underlay {
    switch: Netns,
    mtu: u16,
}

impl Underlay {
    /// A switch without ports. `mtu` is that of everything connected to it, in bytes of IP packet.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn new(lab: &Lab, mtu: u16) -> Result<Underlay> {
        let switch = lab.netns("switch")?;
        switch.ip(&format!("link add br0 mtu {mtu} type bridge mcast_snooping 0\nlink set br0 up"))?;
        Ok(Underlay { switch, mtu })
    }

    /// The namespace of the switch.
    pub fn switch(&self) -> &Netns {
        &self.switch
    }

    /// Bytes of IP packet.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Connects a namespace: it gets `interface` with `address` (as 10.0.0.1/24).
    ///
    /// # Errors
    /// What `ip` said.
    pub fn connect(&self, netns: &Netns, interface: &str, address: &str) -> Result<()> {
        self.wire(netns, interface)?;
        netns.ip(&format!("address add {address} dev {interface}"))
    }

    /// Connects a namespace: it gets `interface`, which is up and has no address.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn wire(&self, netns: &Netns, interface: &str) -> Result<()> {
        let Underlay { switch, mtu } = self;
        let port = netns.name().rsplit('-').next().unwrap_or_default();
        switch.ip(&format!(
            "link add {port} mtu {mtu} type veth peer name {interface} mtu {mtu} netns {}\n\
             link set {port} master br0 up",
            netns.name()
        ))?;
        netns.ip(&format!("link set {interface} up"))
    }

    /// Connects a TAP of the gateway by moving it here.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn take(&self, from: &Netns, tap: &str) -> Result<()> {
        plug(from, tap, &self.switch)?;
        self.switch.ip(&format!("link set {tap} mtu {} master br0", self.mtu))
    }
}

/// Moves a TAP of the gateway to where its cable would lead, and up.
///
/// # Errors
/// What `ip` said.
pub fn plug(gateway: &Netns, tap: &str, to: &Netns) -> Result<()> {
    gateway.ip(&format!("link set {tap} netns {}", to.name()))?;
    to.ip(&format!("link set {tap} up"))
}

/// Has the `eth0` of a host or VM send segments and checksums as they are on a wire, for a gateway that reads them from a
/// packet socket. Both need it: the VM for what is in the tunnel, the host for the tunnel.
///
/// # Errors
/// What `ethtool` said.
pub fn finish_checksums(netns: &Netns) -> Result<()> {
    netns.run("ethtool -K eth0 tx off gso off").map(drop)
}

/// A compute host with its tunnel end.
#[derive(Debug)]
pub struct ComputeHost {
    netns: Netns,
    vtep: String,
    udp_port: u16,
    peers: Vec<String>,
}

impl ComputeHost {
    /// A host `name` at `vtep` (as 10.172.11.11), on a /24 underlay, that floods to `peers`, the other tunnel ends.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn new(
        lab: &Lab,
        underlay: &Underlay,
        name: &str,
        vtep: &str,
        peers: &[&str],
    ) -> Result<ComputeHost> {
        let netns = lab.netns(name)?;
        underlay.connect(&netns, "eth0", &format!("{vtep}/24"))?;
        let peers = peers.iter().map(|p| (*p).to_owned()).collect();
        Ok(ComputeHost { netns, vtep: vtep.to_owned(), udp_port: 8472, peers })
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its tunnel end.
    pub fn vtep(&self) -> &str {
        &self.vtep
    }

    /// A network: VXLAN device `vx<vni>` on bridge `br<vni>`. Does nothing where it is there.
    ///
    /// # Errors
    /// What `ip` or `bridge` said.
    pub fn network(&self, vni: u32) -> Result<()> {
        if self.netns.has(&format!("br{vni}")) {
            return Ok(());
        }
        let ComputeHost { netns, vtep, udp_port, peers } = self;
        netns.ip(&format!(
            "link add br{vni} type bridge mcast_snooping 0\n\
             link add vx{vni} type vxlan id {vni} dstport {udp_port} local {vtep} dev eth0\n\
             link set vx{vni} master br{vni} up\n\
             link set br{vni} up"
        ))?;
        let flood = peers.iter().map(|p| format!("fdb append 00:00:00:00:00:00 dev vx{vni} dst {p}\n"));
        netns.bridge(&flood.collect::<String>())
    }

    /// Floods to `to` instead of `from` in this network; what was learned stays.
    ///
    /// # Errors
    /// What `bridge` said.
    pub fn repeer(&self, vni: u32, from: &str, to: &str) -> Result<()> {
        self.netns.bridge(&format!(
            "fdb del 00:00:00:00:00:00 dev vx{vni} dst {from}\nfdb append 00:00:00:00:00:00 dev vx{vni} dst {to}\n"
        ))
    }

    /// A VM on this host. `address` as 192.168.20.11/24; `gateway` is its default route; `mtu` in bytes of IP packet.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn vm(&self, lab: &Lab, name: &str, vni: u32, address: &str, gateway: &str, mtu: u16) -> Result<Vm> {
        self.network(vni)?;
        let netns = lab.netns(name)?;
        netns.ip(&format!(
            "link add eth0 mtu {mtu} type veth peer name vm-{name} mtu {mtu} netns {}\n\
             address add {address} dev eth0\n\
             link set eth0 up",
            self.netns.name()
        ))?;
        self.netns.ip(&format!("link set vm-{name} master br{vni} up"))?;
        netns.ip(&format!("route add default via {gateway}"))?;
        let address = address.split('/').next().unwrap_or_default().to_owned();
        Ok(Vm { netns, name: name.to_owned(), address })
    }

    /// Takes over a running VM from another host, as a live migration does; nobody announces it.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn take_over(&self, vm: &Vm, from: &ComputeHost, vni: u32) -> Result<()> {
        self.network(vni)?;
        let name = &vm.name;
        from.netns
            .ip(&format!("link set vm-{name} nomaster\nlink set vm-{name} netns {}", self.netns.name()))?;
        self.netns.ip(&format!("link set vm-{name} master br{vni} up"))
    }
}

/// A VM: a namespace with `eth0`.
#[derive(Debug)]
pub struct Vm {
    netns: Netns,
    name: String,
    address: String,
}

impl Vm {
    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
