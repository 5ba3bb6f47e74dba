//! What every request passes first: is there room for it, who asks, may they. And last: what came of it is counted and written down.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::{
    Access, ApiCounts, Caller, EndedWith, Limit, Peer, Refusal, Why, access,
    audit::{Audit, Entry},
};
use crate::config::{ApiLimits, Role};

/// Addresses that are remembered, before those are forgotten that have not asked for a while.
const ADDRESSES_MAX: usize = 4096;

/// Longest path that is written down, in bytes.
const PATH_MAX: usize = 512;

/// Stands before all requests.
#[derive(Debug)]
pub(super) struct Guard {
    access: Option<Arc<Access>>,
    rate: DefaultKeyedRateLimiter<IpAddr>,
    counts: Arc<ApiCounts>,
    audit: Audit,
}

impl Guard {
    pub(super) fn new(
        access: Option<Arc<Access>>,
        limits: &ApiLimits,
        counts: Arc<ApiCounts>,
        audit: Audit,
    ) -> Guard {
        let per_second = NonZeroU32::new(limits.requests_per_second).unwrap_or(NonZeroU32::MIN);
        Guard { access, rate: RateLimiter::hashmap(Quota::per_second(per_second)), counts, audit }
    }

    /// Whether an address may do one thing more now.
    pub(super) fn has_time_for(&self, address: IpAddr) -> bool {
        if self.rate.len() > ADDRESSES_MAX {
            self.rate.retain_recent();
            self.rate.shrink_to_fit();
        }
        self.rate.check_key(&client(address)).is_ok()
    }

    /// Who asks; or why they are turned away, and who they are if that is known.
    fn admit(
        &self,
        peer: &Peer,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Caller, (Refusal, Option<Caller>)> {
        if let Peer::Remote { address, .. } = peer
            && !self.has_time_for(*address)
        {
            let detail = "there are more requests from this address than gateway.api.limits.requests_per_second; wait a second";
            return Err((Refusal::new(Why::TooMany, detail), None));
        }
        let caller =
            access::caller(self.access.as_deref(), peer, headers).map_err(|refusal| (refusal, None))?;
        if caller.role < role_for(method) {
            let detail = format!(
                "{} may look and not change anything; use a token or certificate of the role write",
                caller.name
            );
            return Err((Refusal::new(Why::Forbidden, detail), Some(caller)));
        }
        Ok(caller)
    }

    fn write(&self, entry: &Entry<'_>) {
        if !self.audit.write(entry) {
            self.counts.audit_lost();
        }
    }
}

/// All addresses of a /64 are one client.
pub(super) fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// The guard as a layer of the router.
pub(super) async fn guard(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or(Peer::User(None));
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let (mut answer, caller) = match guard.admit(&peer, &method, request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller.clone());
            (next.run(request).await, Some(caller))
        }
        Err((refusal, caller)) => {
            let mut answer = refusal.into_response();
            // What else comes of this connection is not worth waiting for.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            (answer, caller)
        }
    };
    let why = answer.extensions_mut().remove::<Why>();
    guard.counts.answer(answer.status());
    if let Some(limit) = why.and_then(limit) {
        guard.counts.limit(limit);
    }
    let is_turned_away = matches!(why, Some(Why::Unknown | Why::Forbidden));
    if is_turned_away || (role_for(&method) == Role::Write && why != Some(Why::TooMany)) {
        let path = uri.path_and_query().map_or(uri.path(), |all| all.as_str());
        guard.write(&Entry {
            when: Entry::now(),
            who: caller.as_ref().map(|caller| caller.name.as_str()),
            from: &peer.to_string(),
            method: method.as_str(),
            path: path.get(..PATH_MAX).unwrap_or(path),
            status: answer.status().as_u16(),
            generation: answer.extensions_mut().remove::<EndedWith>().map(|EndedWith(generation)| generation),
            problem: why.map(Why::slug),
        });
    }
    answer
}

/// What it takes to ask so.
pub(super) fn role_for(method: &Method) -> Role {
    if matches!(*method, Method::GET | Method::HEAD) { Role::Read } else { Role::Write }
}

/// The limit that a refusal comes of.
fn limit(why: Why) -> Option<Limit> {
    match why {
        Why::TooMany => Some(Limit::Rate),
        Why::TooLarge => Some(Limit::Body),
        Why::Late => Some(Limit::Late),
        Why::Unknown => Some(Limit::Unknown),
        Why::Forbidden => Some(Limit::Forbidden),
        Why::TooManyWatch => Some(Limit::Watchers),
        _ => None,
    }
}
