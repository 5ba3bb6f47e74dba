//! Who we are among ZSNP's senders: two small files, read at start and, the keys, at every reload.

use tidegate_zsnp::{Keyring, Sender};
use tracing::{error, info};

use super::change::now_ms;
use crate::{gateway::Gateway, zsnp::Identity};

/// The file with our sender id, in the state directory.
const SENDER_FILE: &str = "zsnp-sender";

/// Reads keys and sender id, where ZSNP is configured. Without them the gateway routes all the same, and no host is taught a direct path.
pub(super) fn begin(gateway: &mut Gateway) {
    let config = gateway.desired().shared_config().clone();
    let Some(settings) = &config.gateway.zsnp else { return };
    if gateway.zsnp().speaks() {
        return match Keyring::load(&settings.keys) {
            Ok(keys) => gateway.set_zsnp_keys(keys),
            Err(why) => error!("{} {why}; the keys stay as they were", settings.keys.display()),
        };
    }
    let keys = match Keyring::load(&settings.keys) {
        Ok(keys) => keys,
        Err(why) => return error!("no direct paths (ZSNP): {} {why}", settings.keys.display()),
    };
    match Sender::start(&config.gateway.state.join(SENDER_FILE), now_ms()) {
        Ok(sender) => {
            info!(sender = %sender.id(), key = %keys.signing().id(), "ZSNP is spoken");
            gateway.set_zsnp_identity(Identity { keys, sender });
        }
        Err(why) => error!("no direct paths (ZSNP): {why}"),
    }
}
