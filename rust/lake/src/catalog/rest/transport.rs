//! Sending requests with a token, and knowing whether one may have arrived.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode};

use super::super::{CatalogError, CommitFailure, with_causes};
use super::auth::Authenticator;
use super::outcome;
use crate::settings::RestSettings;

const MAX_GET_ATTEMPTS: u32 = 3;
const MAX_GET_PAUSE: Duration = Duration::from_secs(5);

/// One request, relative to the catalog's base address.
#[derive(Clone, Debug)]
pub(super) struct Request {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Bytes>,
}

impl Request {
    pub(super) fn new(method: Method, path: String) -> Self {
        Self { method, path, headers: Vec::new(), body: None }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets a JSON body.
    pub(super) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = Some(body.into());
        self
    }
}

/// What came back, whatever its status.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name)?.to_str().ok().map(str::to_owned)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// Nothing was sent.
    NotSent(String),
    /// Something was sent, and the answer did not come or broke off.
    Lost(String),
    /// There is no token to send it with; nothing was sent.
    NoToken(CatalogError),
}

impl From<NoAnswer> for CatalogError {
    fn from(reason: NoAnswer) -> Self {
        match reason {
            NoAnswer::NotSent(message) | NoAnswer::Lost(message) => Self::unavailable(message),
            NoAnswer::NoToken(error) => error,
        }
    }
}

impl From<NoAnswer> for CommitFailure {
    fn from(reason: NoAnswer) -> Self {
        match reason {
            NoAnswer::NotSent(message) => Self::Unavailable { message, retry_after: None },
            NoAnswer::Lost(message) => Self::Unknown(message),
            NoAnswer::NoToken(error) => error.into(),
        }
    }
}

/// An HTTP client for one catalog.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    base: String,
    realm: Option<String>,
    auth: Authenticator,
}

impl Transport {
    pub(super) fn new(settings: &RestSettings) -> Result<Self, CatalogError> {
        let client = Client::builder()
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            // Shorter than what servers usually keep, so that a commit does not meet a connection being closed.
            .pool_idle_timeout(Duration::from_secs(20))
            // A redirected commit would become a GET.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("streamify/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| CatalogError::Refused(format!("no HTTP client: {}", with_causes(&error))))?;
        let base = settings.uri.trim_end_matches('/').to_owned();
        Ok(Self { client, base, realm: settings.realm.clone(), auth: Authenticator::new(settings) })
    }

    /// Sends a request once; after a 401 it logs in again and sends it a second time.
    pub(super) async fn send(&self, request: &Request) -> Result<Answer, NoAnswer> {
        let token = self.token(None).await?;
        let answer = self.exchange(request, token.as_deref()).await?;
        // 419 is what some catalogs answer to a token that has run out.
        if token.is_none() || !matches!(answer.status.as_u16(), 401 | 419) {
            return Ok(answer);
        }
        let renewed = self.token(token.as_deref()).await?;
        self.exchange(request, renewed.as_deref()).await
    }

    /// Sends a request that changes nothing, and again if the catalog is not available for the moment.
    pub(super) async fn get(&self, request: Request) -> Result<Answer, CatalogError> {
        let mut attempt = 1;
        loop {
            let result = match self.send(&request).await {
                Ok(answer) => outcome::check(answer),
                Err(reason) => Err(reason.into()),
            };
            let pause = match &result {
                Err(CatalogError::Unavailable { retry_after, .. }) if attempt < MAX_GET_ATTEMPTS => {
                    retry_after.unwrap_or(Duration::from_millis(100 << attempt)).min(MAX_GET_PAUSE)
                }
                _ => return result,
            };
            tracing::debug!(path = request.path, attempt, "catalog is not available, trying again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn token(&self, refused: Option<&str>) -> Result<Option<String>, NoAnswer> {
        let token = self.auth.token(&self.client, &self.base, self.realm.as_deref(), refused).await;
        token.map_err(NoAnswer::NoToken)
    }

    async fn exchange(&self, request: &Request, token: Option<&str>) -> Result<Answer, NoAnswer> {
        let mut builder =
            self.client.request(request.method.clone(), format!("{}/{}", self.base, request.path));
        if let Some(token) = token {
            builder = builder.bearer_auth(token);
        }
        if let Some(realm) = &self.realm {
            builder = builder.header("Polaris-Realm", realm);
        }
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(body) = &request.body {
            builder = builder.header("content-type", "application/json").body(body.clone());
        }
        receive(builder).await
    }
}

/// Sends what was built and reads the whole answer.
pub(super) async fn receive(builder: reqwest::RequestBuilder) -> Result<Answer, NoAnswer> {
    let response = builder.send().await.map_err(|error| {
        let never_left = error.is_connect() || error.is_builder();
        // The address may carry a query, but never a secret; the cause is what helps.
        let text = with_causes(&error.without_url());
        if never_left { NoAnswer::NotSent(text) } else { NoAnswer::Lost(text) }
    })?;
    let (status, headers) = (response.status(), response.headers().clone());
    match response.bytes().await {
        Ok(body) => Ok(Answer { status, headers, body }),
        // A refusal stays one even if its explanation is lost.
        Err(_) if !status.is_success() => Ok(Answer { status, headers, body: Bytes::new() }),
        Err(error) => Err(NoAnswer::Lost(with_causes(&error.without_url()))),
    }
}
