//! Results to the manager. It is asked for one status, over a connection of its own: nothing is followed, and no more than a head of an
//! answer is read.

use std::time::Duration;

use http_body_util::Full;
use hyper::{
    HeaderMap, Request, StatusCode, Uri,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::Limits;

pub(super) const TASK_UUID: HeaderName = HeaderName::from_static("taskuuid");
pub(super) const CALLBACK_URL: HeaderName = HeaderName::from_static("callbackurl");
const TRIGGER_URL: HeaderName = HeaderName::from_static("triggerurl");
const PORT_DEFAULT: u16 = 80;
/// Most bytes of the head of an answer.
const HEAD_MAX: usize = 16 * 1024;

/// Where a result goes to.
#[derive(Clone, Debug)]
pub(super) struct Callback {
    url: Uri,
    task: HeaderValue,
    trigger: HeaderValue,
}

impl Callback {
    /// From the headers of a command on the path `trigger`.
    ///
    /// # Errors
    /// What is missing or wrong, in words for whoever sent it.
    pub(super) fn of(headers: &HeaderMap, trigger: &str) -> Result<Callback, String> {
        let header = |name: &HeaderName| headers.get(name).filter(|value| !value.is_empty());
        let url = header(&CALLBACK_URL).ok_or("the header callbackurl is missing")?;
        let task = header(&TASK_UUID).ok_or("the header taskuuid is missing")?.clone();
        let url: Uri = url.to_str().ok().and_then(|url| url.parse().ok()).ok_or("callbackurl is no URL")?;
        let plain = url.scheme_str() == Some("http");
        if !plain
            || url.host().is_none_or(str::is_empty)
            || url.authority().is_some_and(|a| a.as_str().contains('@'))
        {
            return Err("callbackurl: give a URL of http:// and a host".into());
        }
        let trigger = HeaderValue::from_str(trigger).map_err(|error| error.to_string())?;
        Ok(Callback { url, task, trigger })
    }

    /// Posts a result until it is taken. 404 counts: the manager has an answer already, or gave up.
    ///
    /// # Errors
    /// What the last try came to.
    pub(super) async fn deliver(&self, reply: &Value, tries: u32, limits: &Limits) -> Result<(), String> {
        let body = Bytes::from(reply.to_string());
        let mut last = "no try was made".to_owned();
        for attempt in 0..tries {
            if attempt > 0 {
                sleep(limits.callback_pause).await;
            }
            match self.post(body.clone(), limits.callback_timeout).await {
                Ok(status) if is_taken(status) => return Ok(()),
                Ok(status) => last = format!("{} answered {status}", self.url),
                Err(error) => last = format!("{}: {error}", self.url),
            }
        }
        Err(last)
    }

    async fn post(&self, body: Bytes, limit: Duration) -> Result<StatusCode, String> {
        let work = async {
            let host = self.url.host().unwrap_or_default();
            let address = host.trim_start_matches('[').trim_end_matches(']');
            let stream = TcpStream::connect((address, self.url.port_u16().unwrap_or(PORT_DEFAULT)));
            let stream = stream.await.map_err(|error| error.to_string())?;
            let mut builder = http1::Builder::new();
            builder.max_buf_size(HEAD_MAX);
            let (mut sender, connection) =
                builder.handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
            let request = self.request(body)?;
            // The connection ends with this scope, whatever is left of the answer.
            tokio::select! {
                answer = sender.send_request(request) => {
                    answer.map(|answer| answer.status()).map_err(|error| error.to_string())
                }
                ended = connection => Err(match ended {
                    Ok(()) => "the connection ended without an answer".to_owned(),
                    Err(error) => error.to_string(),
                }),
            }
        };
        timeout(limit, work).await.map_err(|_| "no answer in time".to_owned())?
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let host = self.url.authority().map_or("", |authority| authority.as_str());
        let request = Request::post(path)
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json")
            .header(TASK_UUID, &self.task)
            .header(TRIGGER_URL, &self.trigger);
        request.body(Full::new(body)).map_err(|error| error.to_string())
    }
}

/// 200 to 300, as the stock agent counts, and 404.
fn is_taken(status: StatusCode) -> bool {
    (200..=300).contains(&status.as_u16()) || status == StatusCode::NOT_FOUND
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_command_needs_a_task_and_a_plain_url() {
        let good =
            headers(&[("taskuuid", "t"), ("callbackurl", "http://192.0.2.2:8080/zstack/asyncrest/callback")]);
        assert!(Callback::of(&good, "/init").is_ok());
        for bad in [
            headers(&[("callbackurl", "http://192.0.2.2/")]),
            headers(&[("taskuuid", "t")]),
            headers(&[("taskuuid", ""), ("callbackurl", "http://192.0.2.2/")]),
            headers(&[("taskuuid", "t"), ("callbackurl", "https://192.0.2.2/")]),
            headers(&[("taskuuid", "t"), ("callbackurl", "file:///etc/passwd")]),
            headers(&[("taskuuid", "t"), ("callbackurl", "/relative")]),
            headers(&[("taskuuid", "t"), ("callbackurl", "http://user@192.0.2.2/")]),
        ] {
            assert!(Callback::of(&bad, "/init").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_counts_as_taken() {
        let taken = [200, 201, 204, 300, 404];
        assert!(taken.iter().all(|code| is_taken(StatusCode::from_u16(*code).unwrap())));
        let not = [301, 302, 400, 403, 500, 503];
        assert!(not.iter().all(|code| !is_taken(StatusCode::from_u16(*code).unwrap())));
    }
}
