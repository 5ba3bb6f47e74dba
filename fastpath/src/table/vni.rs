//! (VTEP, VNI) to network: open addressing, immutable once built.

use crate::types::{NetId, Vni, VtepId};

/// Which network a VXLAN frame belongs to.
#[derive(Clone, Debug, Default)]
pub struct VniTable {}

impl VniTable {
    /// Builds from pairs in any order; pairs are unique, control has checked.
    pub fn build(_entries: impl IntoIterator<Item = ((VtepId, Vni), NetId)>) -> VniTable {
        todo!()
    }

    /// The network; [`NetId::NONE`] where there is none. `vni` is the raw 24-bit field.
    #[inline]
    pub fn lookup(&self, _vtep: VtepId, _vni: u32) -> NetId {
        todo!()
    }
}
