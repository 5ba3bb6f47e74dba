//! Load balancers as control sees them.

use std::net::Ipv4Addr;

use tidegate_control::{
    balance::Report,
    config::{BackendKey, Id},
};
use tidegate_fastpath::table::balance::Listener;

use super::{Gateway, Sent};

impl Gateway {
    /// A prober found out about the backends of a listener that have this address.
    pub fn health(&mut self, listener: &str, address: &str, up: bool) -> Sent<'_> {
        let address: Ipv4Addr = address.parse().expect("an address");
        let config = self.control.desired().config();
        let listeners = config.listeners().filter(|wanted| wanted.id.as_str() == listener);
        let keys = listeners.flat_map(|l| l.backends.iter().map(|backend| l.key(backend)));
        let keys: Vec<BackendKey> = keys.filter(|key| key.vm.address == address).collect();
        assert!(!keys.is_empty(), "{listener} has no backend {address}");
        let reason = if up { "connected" } else { "refused" };
        let reports = keys.into_iter().map(|backend| Report { backend, up, reason: reason.to_owned() });
        self.control.set_health(reports, self.now);
        self.run()
    }

    /// A listener as workers see it.
    ///
    /// # Panics
    /// When there is none.
    pub fn listener(&self, name: &str) -> &Listener {
        let id = Id::new(name).expect("an id");
        self.control
            .compiled()
            .balanced
            .listener(&id)
            .unwrap_or_else(|| panic!("no listener is called {name}"))
    }

    /// Open connections of each backend of a listener, by address.
    pub fn connections(&self, name: &str) -> Vec<u32> {
        self.listener(name).backends.iter().map(|backend| backend.usage.usage.live()).collect()
    }
}
