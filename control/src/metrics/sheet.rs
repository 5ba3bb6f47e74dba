//! One scrape: values are set, then encoded.

use std::collections::BTreeMap;

use prometheus::{Encoder, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use super::catalog::{Kind, Metric};

/// The values of one scrape.
#[derive(Default)]
pub(crate) struct Sheet {
    registry: Registry,
    families: BTreeMap<&'static str, Family>,
}

enum Family {
    Counter(IntCounterVec),
    Gauge(IntGaugeVec),
}

impl Sheet {
    /// Adds to the series of `labels`, in the order that the metric declares them. Series with equal labels add up.
    pub(crate) fn set(&mut self, metric: &'static Metric, labels: &[&str], value: u64) {
        let registry = &self.registry;
        let family = self.families.entry(metric.name).or_insert_with(|| Family::new(metric, registry));
        match family {
            Family::Counter(counter) => counter.with_label_values(labels).inc_by(value),
            Family::Gauge(gauge) => gauge.with_label_values(labels).add(value as i64),
        }
    }

    /// The text format.
    pub(crate) fn encode(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory fails only for a family without series, which the registry leaves out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Family {
    fn new(metric: &Metric, registry: &Registry) -> Family {
        let opts = Opts::new(metric.name, metric.help);
        // The catalogue's names and labels are legal and unique; a test builds every family.
        match metric.kind {
            Kind::Counter => {
                let counter = IntCounterVec::new(opts, metric.labels).expect("a legal declaration");
                let _ = registry.register(Box::new(counter.clone()));
                Family::Counter(counter)
            }
            Kind::Gauge => {
                let gauge = IntGaugeVec::new(opts, metric.labels).expect("a legal declaration");
                let _ = registry.register(Box::new(gauge.clone()));
                Family::Gauge(gauge)
            }
        }
    }
}
