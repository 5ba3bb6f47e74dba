//! `qos[].colour`: marking by colour instead of dropping.

use tidegate_fastpath::policer::{Above, Action, Colouring, Dscp, Rate};

use super::{burst_or_default, rate, size};
use crate::config::{
    check::{
        At, Report,
        text::{Wrong, wrong},
    },
    raw::{RawColour, RawQos},
};

/// Of both directions: inbound, outbound, with these rates. `None` where something is wrong.
pub(super) fn colourings(
    at: At<'_>,
    raw: &RawQos,
    rates: [Option<Rate>; 2],
    report: &mut Report,
) -> Option<[Option<Colouring>; 2]> {
    let Some(colour) = &raw.colour else { return Some([None, None]) };
    if rates == [None, None] {
        report.lacks(
            at,
            "colour",
            "is of no rate in bit/s",
            "give `inbound` or `outbound`, or remove the key",
        );
        return None;
    }
    let above = match colour.mode.as_deref()? {
        "srtcm" => excess(at, colour, rates, report),
        _ => peaks(at, colour, rates, report),
    };
    let texts = [("green", &colour.green), ("yellow", &colour.yellow), ("red", &colour.red)];
    let actions = texts.map(|(key, text)| {
        let default = if key == "red" { Action::Drop } else { Action::Pass };
        let Some(text) = text.as_deref() else { return Some(default) };
        report.read(at, &format!("colour.{key}"), Some(text), action)
    });
    let [Some(green), Some(yellow), Some(red)] = actions else { return None };
    let (aware, actions) = (colour.aware.unwrap_or_default(), [green, yellow, red]);
    Some(above?.map(|above| above.map(|above| Colouring { above, aware, actions })))
}

/// srTCM: a second burst of each rate.
fn excess(
    at: At<'_>,
    raw: &RawColour,
    rates: [Option<Rate>; 2],
    report: &mut Report,
) -> Option<[Option<Above>; 2]> {
    let others = [
        ("inbound_peak", raw.inbound_peak.is_some()),
        ("outbound_peak", raw.outbound_peak.is_some()),
        ("peak_burst", raw.peak_burst.is_some()),
    ];
    means_nothing(at, &others, "srtcm", report);
    let burst = raw.excess_burst.as_deref().map(|text| size(at, "colour.excess_burst", text, report));
    if burst == Some(None) {
        return None;
    }
    Some(rates.map(|rate| rate.map(|rate| Above::Excess(burst.flatten().unwrap_or(rate.burst)))))
}

/// trTCM: a peak for each rate.
fn peaks(
    at: At<'_>,
    raw: &RawColour,
    rates: [Option<Rate>; 2],
    report: &mut Report,
) -> Option<[Option<Above>; 2]> {
    means_nothing(at, &[("excess_burst", raw.excess_burst.is_some())], "trtcm", report);
    let burst = raw.peak_burst.as_deref().map(|text| size(at, "colour.peak_burst", text, report));
    let mut peak = |key: &str, of: &str, text: Option<&str>, committed: Option<Rate>| {
        let path = format!("colour.{key}");
        match (text, committed) {
            (None, None) => Some(None),
            (None, Some(_)) => {
                report.lacks(at, &path, "is missing", format!("give the peak rate of `{of}`"));
                None
            }
            (Some(text), None) => {
                report.add(at, &path, text, format!("is the peak of no rate {of}"), format!("give `{of}`"));
                None
            }
            (Some(text), Some(committed)) => {
                let per_s = rate(at, &path, text, report)?;
                if per_s < committed.per_s {
                    let way_out = "give at least the rate itself (RFC 2698 §2)";
                    report.add(at, &path, text, format!("is below the rate `{of}`"), way_out);
                    return None;
                }
                Some(Some(Above::Peak(Rate { per_s, burst: burst_or_default(burst.flatten(), per_s) })))
            }
        }
    };
    let inbound = peak("inbound_peak", "inbound", raw.inbound_peak.as_deref(), rates[0]);
    let outbound = peak("outbound_peak", "outbound", raw.outbound_peak.as_deref(), rates[1]);
    if burst == Some(None) { None } else { Some([inbound?, outbound?]) }
}

fn means_nothing(at: At<'_>, keys: &[(&str, bool)], mode: &str, report: &mut Report) {
    for (key, _) in keys.iter().filter(|(_, given)| *given) {
        report.lacks(at, &format!("colour.{key}"), format!("means nothing to {mode}"), "remove it");
    }
}

/// What becomes of a colour.
fn action(text: &str) -> Result<Action, Wrong> {
    match text {
        "pass" => Ok(Action::Pass),
        "drop" => Ok(Action::Drop),
        "precedence" => Ok(Action::Precedence),
        _ => match dscp(text) {
            Some(dscp) => Ok(Action::Mark(dscp)),
            None => wrong(
                "is no action",
                "give pass, drop, precedence, or a DSCP: 0 to 63, af11 to af43, cs0 to cs7, ef",
            ),
        },
    }
}

/// A number, or a name of RFC 2474 §4.2.2 (class selectors), RFC 2597 §6 or RFC 3246 §2.7.
fn dscp(text: &str) -> Option<Dscp> {
    let within = |digit: u8, max: u8| (b'1'..=b'0' + max).contains(&digit).then(|| digit - b'0');
    let raw = match text.as_bytes() {
        b"ef" => 46,
        [b'c', b's', class @ b'0'..=b'7'] => (class - b'0') << 3,
        [b'a', b'f', class, precedence] => within(*class, 4)? << 3 | within(*precedence, 3)? << 1,
        _ => text.parse().ok()?,
    };
    Dscp::new(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codepoints_have_names_and_numbers() {
        let raw = |text| dscp(text).map(Dscp::get);
        for (text, number) in [
            ("0", 0),
            ("63", 63),
            ("ef", 46),
            ("cs0", 0),
            ("cs7", 56),
            ("af11", 10),
            ("af23", 22),
            ("af43", 38),
        ] {
            assert_eq!(raw(text), Some(number), "{text}");
        }
        for text in ["", "64", "-1", "af10", "af14", "af51", "af1", "cs8", "EF", "best"] {
            assert_eq!(raw(text), None, "{text}");
        }
    }
}
