//! The rate limits in force, for reading.

use tidegate_fastpath::{
    counter::Volume,
    policer::{Bucket, Colour, Slot},
};

use super::Gateway;
use crate::{compile::bucket_ids, config::Qos};

/// A bucket, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct LimitView<'a> {
    /// The object.
    pub qos: &'a Qos,
    /// `outbound` or `inbound`.
    pub direction: &'static str,
    /// What workers see.
    pub bucket: &'a Bucket,
}

/// Packets and bytes of all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Packets.
    pub packets: u64,
    /// Bytes, as the bucket counts them.
    pub bytes: u64,
}

impl LimitView<'_> {
    /// What passed.
    pub fn passed(&self) -> Sum {
        self.sum(|slot| &slot.passed)
    }

    /// What was dropped here.
    pub fn dropped(&self) -> Sum {
        self.sum(|slot| &slot.dropped)
    }

    /// What was of a colour, whatever became of it.
    pub fn of_colour(&self, colour: Colour) -> Sum {
        self.sum(|slot| &slot.colours()[colour as usize])
    }

    fn sum(&self, of: impl Fn(&Slot) -> &Volume) -> Sum {
        self.bucket.slots().iter().map(of).fold(Sum::default(), |sum, volume| Sum {
            packets: sum.packets + volume.packets.get(),
            bytes: sum.bytes + volume.bytes.get(),
        })
    }
}

impl Gateway {
    /// The buckets of every rate limit, in the order of the document.
    pub fn limits(&self) -> impl Iterator<Item = LimitView<'_>> {
        let policing = &self.compiled.tables.policing;
        self.desired.config().qos.iter().flat_map(move |qos| {
            let ids = bucket_ids(&self.desired, &qos.id);
            let named = ids.into_iter().flatten().zip(["outbound", "inbound"]);
            named.filter_map(move |(id, direction)| {
                Some(LimitView { qos, direction, bucket: policing.bucket(id)? })
            })
        })
    }
}
