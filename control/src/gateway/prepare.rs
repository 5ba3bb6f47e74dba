//! Making a configuration ready beside the control thread. What takes the time that a large change takes (numbers, tables) needs
//! nothing but what the gateway was at some moment, so another thread can do it while this one answers its neighbours; what
//! is left to do on the control thread is short.

use std::{collections::HashMap, sync::Arc};

use tidegate_fastpath::types::Nanos;

use super::{Gateway, numbered, survive};
use crate::{
    compile::{Compiled, Facts, PortFact, compile},
    config::{Config, Id},
    desired::Desired,
};

/// What the gateway was at a moment. A copy shares it.
#[derive(Clone, Debug)]
pub struct Moment {
    desired: Desired,
    ports: HashMap<Id, PortFact>,
    facts: Facts,
    compiled: Arc<Compiled>,
}

/// A configuration with its tables, ready for the gateway of a [`Moment`].
#[derive(Debug)]
pub struct Prepared {
    of: Arc<Compiled>,
    desired: Desired,
    facts: Facts,
    compiled: Compiled,
}

/// What was replaced, to be freed where that takes nobody's time.
#[derive(Debug)]
pub struct Replaced {
    _desired: Desired,
    _compiled: Arc<Compiled>,
}

impl Moment {
    /// Numbers and compiles a configuration that needs no restart. Cost: what differs from the one in force.
    pub fn prepare(self, config: Arc<Config>) -> Prepared {
        let desired = self.desired.next(config);
        let facts = Facts { ports: numbered(&self.ports, &desired), ..self.facts };
        let compiled = compile(&desired, &facts, Some(&self.compiled));
        Prepared { of: self.compiled, desired, facts, compiled }
    }
}

impl Gateway {
    /// What it is now.
    pub fn moment(&self) -> Moment {
        Moment {
            desired: self.desired.clone(),
            ports: self.ports.clone(),
            facts: self.facts.clone(),
            compiled: Arc::clone(&self.compiled),
        }
    }

    /// Whether it still is what it was when this was prepared. Links and backends change on their own; prepare anew then.
    pub fn takes(&self, prepared: &Prepared) -> bool {
        Arc::ptr_eq(&self.compiled, &prepared.of)
    }

    /// Puts what was prepared into force. Networks that did not change are not disturbed.
    ///
    /// # Errors
    /// Gives it back where [`Gateway::takes`] says no.
    pub fn install(&mut self, prepared: Prepared, now: Nanos) -> Result<Replaced, Box<Prepared>> {
        if !self.takes(&prepared) {
            return Err(Box::new(prepared));
        }
        let Prepared { of, desired, facts, compiled } = prepared;
        let before = std::mem::replace(&mut self.desired, desired);
        self.healths.keep(self.desired.config());
        if !self.desired.numbers_as(&before) {
            survive::label(&self.desired, &self.flows);
        }
        // What is known of ports, neighbours and backends may be of more, or of fewer, than it was prepared with.
        let present = self.look(now);
        let compiled =
            if present == facts { compiled } else { compile(&self.desired, &present, Some(&compiled)) };
        self.publish(present, compiled, now);
        Ok(Replaced { _desired: before, _compiled: of })
    }
}
