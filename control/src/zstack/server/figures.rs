//! What an agent tells of the gateway: metrics, and which packets go direct.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Agent;
use crate::{
    show::{Filter, Table},
    zstack::{Endpoint, body, direct, metrics},
};

/// For so long a page of metrics is good: who asks more often gets it again, since it takes a walk over the flow table.
const PAGE_AGE: Duration = Duration::from_secs(1);

impl Agent {
    /// The page of `GET /metrics`.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn metrics(&self) -> Result<String, String> {
        let mut page = self.page.lock().await;
        if let Some((made, text)) = &*page
            && made.elapsed() < PAGE_AGE
        {
            return Ok(text.clone());
        }
        let shown = metrics::Shown {
            vips: self.rows(Table::Vips, Filter::default()).await?,
            listeners: self.rows(Table::LbListeners, Filter::default()).await?,
            backends: self.rows(Table::LbBackends, Filter::default()).await?,
            http: self.rows(Table::LbHttp, Filter::default()).await?,
            memory: fs::read_to_string("/proc/meminfo").unwrap_or_default(),
        };
        let text = metrics::page(&self.router().pushed(), &shown);
        *page = Some((Instant::now(), text.clone()));
        Ok(text)
    }

    /// The reply to `/zsn/status` or `/zsn/connections`.
    pub(super) async fn direct_paths(&self, endpoint: Endpoint) -> Value {
        let (_, vpc) = self.whose();
        let (vpc, limit) = (Some(vpc.to_string()), Some(direct::CONNECTIONS_MAX));
        let rows = self.rows(Table::Shortcuts, Filter { vpc, limit, ..Filter::default() }).await;
        let switched_on = self.router().pushed().distributed_routing;
        match rows {
            Ok(rows) if endpoint == Endpoint::ZsnStatus => direct::status(switched_on, &rows),
            Ok(rows) => direct::connections(&rows),
            Err(why) => body::failure(&why),
        }
    }

    async fn rows<T: DeserializeOwned>(&self, table: Table, filter: Filter) -> Result<Vec<T>, String> {
        let json = self.sink.show(table, filter).await?;
        serde_json::from_str(&json).map_err(|error| error.to_string())
    }
}
