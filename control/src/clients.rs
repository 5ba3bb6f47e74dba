//! Who is connected: a bounded number of places, and of these a bounded number for each address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// The places of one listener.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    most: usize,
    most_of_one: usize,
    by_address: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place among the connections, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    clients: Clients,
    address: IpAddr,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All are taken.
    All,
    /// This address has as many as it may.
    OfOne,
}

impl Clients {
    /// At most `most` places, `most_of_one` of them for one address.
    pub(crate) fn new(most: usize, most_of_one: usize) -> Clients {
        Clients { most, most_of_one, by_address: Arc::default() }
    }

    /// A place for one more connection.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn take(&self, address: IpAddr) -> Result<Place, Full> {
        let mut taken = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by_address.get(&address).copied().unwrap_or_default();
        if taken.all >= self.most {
            return Err(Full::All);
        }
        if own >= self.most_of_one {
            return Err(Full::OfOne);
        }
        taken.all += 1;
        taken.by_address.insert(address, own + 1);
        Ok(Place { clients: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.clients.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        match taken.by_address.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => _ = taken.by_address.remove(&self.address),
        }
    }
}
