//! The endpoints, declared once: path, transport, how far each is served, and why not further. The table of `docs/zstack.md` is
//! written from here.

/// How a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In the HTTP answer.
    Sync,
    /// By a callback.
    Async,
    /// In the HTTP answer, which is text.
    Text,
}

/// How far an endpoint is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// It does what it says.
    Full,
    /// Success, because there is nothing to do.
    Nothing,
    /// What it brings is kept and listed, and has no effect yet.
    Kept,
    /// Success where it asks for nothing or for an end of it, else the failure envelope.
    Empty,
    /// The failure envelope.
    Refused,
}

impl Serving {
    /// As the manual says it.
    pub const fn label(self) -> &'static str {
        match self {
            Serving::Full => "served",
            Serving::Nothing => "accepted, nothing to do",
            Serving::Kept => "kept, not served yet",
            Serving::Empty => "refused unless it asks for nothing",
            Serving::Refused => "refused",
        }
    }
}

macro_rules! endpoints {
    ($($variant:ident = $path:literal, $transport:ident, $serving:ident, $remark:literal;)*) => {
        /// What a manager may ask of a router agent.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Endpoint { $(#[doc = concat!("`", $path, "`")] $variant,)* }

        impl Endpoint {
            /// All of them, in the order of the manual.
            pub const ALL: &'static [Endpoint] = &[$(Endpoint::$variant,)*];

            /// The path of its URL.
            pub const fn path(self) -> &'static str {
                match self { $(Endpoint::$variant => $path,)* }
            }

            /// How it is answered.
            pub const fn transport(self) -> Transport {
                match self { $(Endpoint::$variant => Transport::$transport,)* }
            }

            /// How far it is served.
            pub const fn serving(self) -> Serving {
                match self { $(Endpoint::$variant => Serving::$serving,)* }
            }

            /// What an operator should know.
            pub const fn remark(self) -> &'static str {
                match self { $(Endpoint::$variant => $remark,)* }
            }
        }
    };
}

endpoints! {
    Echo = "/echo", Sync, Full, "";
    Type = "/type", Sync, Full, "says `isVyos: true`";
    Test = "/test", Sync, Full, "";
    Init = "/init", Async, Full, "of its body only the uuid is used";
    Ping = "/ping", Async, Full, "never waits for other commands";
    ConfigureNtp = "/configurentp", Async, Nothing, "the host keeps its own time";
    ApplianceEcho = "/appliancevm/echo", Sync, Nothing, "";
    ApplianceInit = "/appliancevm/init", Async, Nothing, "";
    ApplianceFirewall = "/appliancevm/refreshfirewall", Async, Nothing, "";
    ConfigureNic = "/configurenic", Async, Full, "IPv4; a Private NIC is a network of the VPC router";
    RemoveNic = "/removenic", Async, Full, "";
    NicDefaultAction = "/configurenicdefaultaction", Async, Kept, "there is no firewall yet: what is routed passes";
    ChangeDefaultNic = "/changeDefaultNic", Async, Full, "IPv4";
    CreateVip = "/createvip", Async, Full, "IPv4; an IPv6 VIP is refused";
    RemoveVip = "/removevip", Async, Full, "";
    SetVipQos = "/setvipqos", Async, Full, "";
    DeleteVipQos = "/deletevipqos", Async, Full, "";
    SyncVipQos = "/syncvipqos", Async, Full, "";
    SyncSnat = "/syncsnat", Async, Full, "a private network leaves by one public network at a time";
    RemoveSnat = "/removesnat", Async, Full, "";
    SetSnat = "/setsnat", Async, Full, "";
    SetSnatState = "/setsnatservicestate", Async, Full, "";
    CreatePortForward = "/createportforwarding", Async, Full, "";
    RevokePortForward = "/revokeportforwarding", Async, Full, "";
    SyncPortForward = "/syncportforwarding", Async, Full, "";
    CreateEip = "/createeip", Async, Full, "`snatInboundTraffic: true` is refused; a VM has one EIP at a time";
    RemoveEip = "/removeeip", Async, Full, "";
    SyncEip = "/synceip", Async, Full, "";
    RefreshLb = "/lb/refresh", Async, Full, "IPv4; see below for the parameters";
    DeleteLb = "/lb/delete", Async, Full, "";
    LbLogLevel = "/lb/log/level", Async, Nothing, "";
    CreateCertificate = "/certificate/create", Async, Full, "";
    DeleteCertificate = "/certificate/delete", Async, Full, "";
    CreateCertificates = "/certificates/create", Async, Full, "";
    RefreshDhcp = "/refreshDhcpServer", Async, Kept, "no DHCP on the gateway yet";
    StartDhcp = "/startDhcpServer", Async, Kept, "no DHCP on the gateway yet";
    StopDhcp = "/stopDhcpServer", Async, Kept, "no DHCP on the gateway yet";
    AddDhcp = "/adddhcp", Async, Kept, "no DHCP on the gateway yet";
    RemoveDhcp = "/removedhcp", Async, Kept, "no DHCP on the gateway yet";
    SetDns = "/setdns", Async, Kept, "no DNS on the gateway yet";
    RemoveDns = "/removedns", Async, Kept, "no DNS on the gateway yet";
    SetVpcDns = "/setvpcdns", Async, Kept, "no DNS on the gateway yet";
    SyncRoutes = "/syncroutes", Async, Full, "next hops on public networks wait; the first of equal routes is in force (no ECMP)";
    GetRoutes = "/getroutes", Async, Full, "";
    SyncPolicyRoutes = "/policyroute/sync", Async, Empty, "no policy routes yet";
    RefreshOspf = "/routerprotocol/ospf/refresh", Async, Empty, "no OSPF yet";
    OspfNeighbours = "/routerprotocol/ospf/neighbor", Async, Nothing, "answers an empty list";
    CreateIpsec = "/vyos/createipsecconnection", Async, Empty, "no IPsec yet";
    DeleteIpsec = "/vyos/deleteipsecconnection", Async, Nothing, "there is none";
    SyncIpsec = "/vyos/syncipsecconnection", Async, Empty, "no IPsec yet";
    UpdateIpsec = "/vyos/updateipsecconnection", Async, Empty, "no IPsec yet";
    UpdateIpsecVersion = "/vyos/updateipsecversion", Async, Refused, "no IPsec yet";
    GetIpsecLog = "/vyos/getipseclog", Async, Nothing, "answers an empty log";
    GetFirewall = "/fw/getConfig", Async, Nothing, "answers an empty list";
    CreateFirewallRule = "/fw/create/rule", Async, Refused, "no firewall yet";
    DeleteFirewallRule = "/fw/delete/rule", Async, Nothing, "there is none";
    ChangeFirewallRule = "/fw/changeState/rule", Async, Refused, "no firewall yet";
    CreateRuleSet = "/fw/create/ruleSet", Async, Refused, "no firewall yet";
    DeleteRuleSet = "/fw/delete/ruleSet", Async, Nothing, "there is none";
    AttachRuleSet = "/fw/attach/ruleSet", Async, Refused, "no firewall yet";
    DetachRuleSet = "/fw/detach/ruleSet", Async, Nothing, "there is none";
    ApplyFirewallRules = "/fw/apply/rule", Async, Empty, "no firewall yet";
    UpdateRuleSet = "/fw/update/ruleSet", Async, Refused, "no firewall yet";
    DeleteFirewall = "/fw/delete/firewall", Async, Nothing, "there is none";
    ApplyRuleSetChanges = "/fw/apply/ruleSet/changes", Async, Empty, "no firewall yet";
    EnableHa = "/enableVyosha", Async, Refused, "no pairs yet; the gateway says `NoHa`";
    SyncHa = "/syncVpcRouterHa", Async, Nothing, "answers `NoHa`";
    RestartKeepalived = "/restartKeepalived", Async, Refused, "no pairs yet";
    KeepalivedGarp = "/keepalived/garp", Sync, Refused, "of the stock router's own script";
    DistributedRouting = "/zsn/dr", Async, Full, "`distributed_routing` of the router's networks; refused without `gateway.zsnp`";
    ZsnStatus = "/zsn/status", Async, Full, "the text is ours: see below";
    ZsnConnections = "/zsn/connections", Async, Full, "the text is ours: see below";
    RefreshFlowMeter = "/flowmeter/refresh", Async, Empty, "no flow export yet; `gateway.nat_log` logs sessions";
    CountFlowMeter = "/flowmeter/count", Async, Nothing, "answers an empty list";
    EnablePim = "/pimd/enable", Async, Refused, "no multicast routing";
    DisablePim = "/pimd/disable", Async, Nothing, "there is none";
    PimRoutes = "/pimd/route", Async, Nothing, "answers an empty list";
    Metrics = "/metrics", Text, Full, "for Prometheus; see below for the names";
}

impl Endpoint {
    /// The endpoint of exactly this path.
    pub fn of_path(path: &str) -> Option<Endpoint> {
        Endpoint::ALL.iter().copied().find(|endpoint| endpoint.path() == path)
    }

    /// Whether it is answered beside commands that run, as the stock agent does.
    pub const fn is_prompt(self) -> bool {
        use Endpoint as E;
        matches!(
            self,
            E::Echo | E::Type | E::Test | E::Ping | E::ConfigureNtp | E::ApplianceEcho | E::ApplianceInit
        ) || matches!(self, E::ZsnStatus | E::ZsnConnections | E::PimRoutes | E::KeepalivedGarp)
    }

    /// The table of the manual.
    pub fn table() -> String {
        let rows = Endpoint::ALL.iter().map(|endpoint| {
            let transport = match endpoint.transport() {
                Transport::Sync => "sync",
                Transport::Async => "async",
                Transport::Text => "text",
            };
            format!(
                "| `{}` | {transport} | {} | {} |\n",
                endpoint.path(),
                endpoint.serving().label(),
                endpoint.remark()
            )
        });
        let head = "| Path | Transport | State | Remark |\n|---|---|---|---|\n";
        std::iter::once(head.to_owned()).chain(rows).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs};

    use super::*;

    /// The part of docs/zstack.md between its two marks; `GOLDEN_UPDATE=1` writes it anew.
    #[test]
    fn the_table_of_the_manual_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/zstack.md");
        let page = fs::read_to_string(path).unwrap();
        let (head, rest) = page.split_once("<!-- endpoints -->\n").unwrap();
        let (found, foot) = rest.split_once("<!-- end of endpoints -->").unwrap();
        let table = Endpoint::table();
        if std::env::var_os("GOLDEN_UPDATE").is_some() {
            fs::write(path, format!("{head}<!-- endpoints -->\n{table}<!-- end of endpoints -->{foot}"))
                .unwrap();
        } else {
            assert!(found == table, "run GOLDEN_UPDATE=1 cargo test -p tidegate-control manual");
        }
    }

    #[test]
    fn no_path_is_declared_twice_and_each_is_found() {
        let paths: HashSet<_> = Endpoint::ALL.iter().map(|endpoint| endpoint.path()).collect();
        assert_eq!(paths.len(), Endpoint::ALL.len());
        assert!(Endpoint::ALL.iter().all(|endpoint| Endpoint::of_path(endpoint.path()) == Some(*endpoint)));
        assert_eq!(Endpoint::of_path("/Init"), None);
        assert_eq!(Endpoint::of_path("/init/"), None);
    }
}
