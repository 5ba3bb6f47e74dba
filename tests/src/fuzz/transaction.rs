//! Transactions upon the site.

use std::sync::OnceLock;

use tidegate_control::{
    config,
    desired::{Basis, Desired, Transaction, documents, settle},
};

use super::compiled;
use crate::gateway::SITE;

/// A transaction: any bytes are none, are refused with a reason, or make a state that compiles, is the same when it is settled
/// anew, and can be taken back.
///
/// # Panics
/// When it is not so.
pub fn transaction(input: &[u8]) {
    let Ok(transaction) = serde_json::from_slice::<Transaction>(input) else { return };
    let before = site();
    let plan = match before.plan(&transaction) {
        Ok(plan) => plan,
        Err(why) => return assert!(!why.to_string().is_empty(), "refused without a reason"),
    };
    assert!(plan.settled.statuses.keys().all(|key| plan.documents.get(key).is_some()));
    let again = settle(&plan.host, &plan.documents).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(again, *plan.settled);
    assert!(compiled(&Desired::new(plan.config().clone())).tables.nets.len() <= usize::from(u16::MAX));
    let back = plan.basis(2).plan_documents(&before.documents).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!((&back.documents, &back.settled), (&before.documents, &before.settled));
}

/// The objects of [`SITE`].
fn site() -> &'static Basis {
    static BASIS: OnceLock<Basis> = OnceLock::new();
    BASIS.get_or_init(|| {
        let (mut raw, _) = config::parse_file(SITE).unwrap_or_else(|problems| panic!("{problems}"));
        let host = raw.gateway.take().unwrap_or_default();
        let objects = documents(raw).unwrap_or_else(|problems| panic!("{problems}"));
        let empty = Basis::empty(host.clone()).unwrap_or_else(|problems| panic!("{problems}"));
        empty.plan_file(&host, objects).unwrap_or_else(|why| panic!("{why}")).basis(1)
    })
}
