//! Which TAPs have something to read: each gets its turn, one frame at a time.
//!
//! A TAP stands in the queue at most once. It is put there by the runtime when it becomes readable, goes to the back
//! after each frame, and leaves when it is empty. So a frame costs the same with one TAP as with thousands, and a
//! namespace that sends without pause delays another's frame by one frame.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::{Wake, Waker},
};

use tidegate_fastpath::types::VrfId;
use tokio::sync::Notify;

/// The queue. Clones are the same queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<VecDeque<VrfId>>,
    filled: Notify,
}

impl Turns {
    /// Puts a TAP at the back.
    pub(super) fn push(&self, vrf: VrfId) {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(vrf);
        self.0.filled.notify_one();
    }

    /// The TAP whose turn it is.
    pub(super) fn pop(&self) -> Option<VrfId> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Waits until a TAP is in the queue.
    pub(super) async fn filled(&self) {
        while self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.0.filled.notified().await;
        }
    }

    /// A waker that puts this TAP at the back.
    pub(super) fn waker(&self, vrf: VrfId) -> Waker {
        Arc::new(Turn { turns: self.clone(), vrf }).into()
    }
}

struct Turn {
    turns: Turns,
    vrf: VrfId,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.turns.push(self.vrf);
    }
}
