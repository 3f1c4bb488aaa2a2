//! The token: got by OAuth2 client credentials, kept until shortly before it runs out.
//!
//! At most one login is under way; who finds a token refused that somebody else has renewed already takes the new one.

use std::time::{Duration, Instant};

use reqwest::Client;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::super::CatalogError;
use super::outcome;
use super::transport::{NoAnswer, receive};
use crate::settings::{RestClientCredentials, RestSettings, Secret};

/// How long before its end a token is renewed, at most; a tenth of its life if that is less.
const MAX_MARGIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Authenticator {
    /// Without a client no token is used.
    client: Option<RestClientCredentials>,
    scope: String,
    current: Mutex<Option<Token>>,
}

#[derive(Debug)]
struct Token {
    text: Secret,
    /// `None` if the catalog did not say how long it lives: then until it is refused.
    renew_at: Option<Instant>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

impl Authenticator {
    pub(super) fn new(settings: &RestSettings) -> Self {
        Self { client: settings.client.clone(), scope: settings.scope.clone(), current: Mutex::new(None) }
    }

    /// Returns a token that is not `refused`, logging in if needed; `None` if the catalog is used without one.
    pub(super) async fn token(
        &self,
        http: &Client,
        base: &str,
        realm: Option<&str>,
        refused: Option<&str>,
    ) -> Result<Option<String>, CatalogError> {
        let Some(client) = &self.client else { return Ok(None) };
        let mut current = self.current.lock().await;
        let usable = current.as_ref().filter(|token| {
            token.renew_at.is_none_or(|renew_at| Instant::now() < renew_at)
                && Some(token.text.reveal()) != refused
        });
        if let Some(token) = usable {
            return Ok(Some(token.text.reveal().to_owned()));
        }
        let token = self.log_in(http, base, realm, client).await?;
        let text = token.text.reveal().to_owned();
        *current = Some(token);
        Ok(Some(text))
    }

    async fn log_in(
        &self,
        http: &Client,
        base: &str,
        realm: Option<&str>,
        client: &RestClientCredentials,
    ) -> Result<Token, CatalogError> {
        let started = Instant::now();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client.id.as_str()),
            ("client_secret", client.secret.reveal()),
            ("scope", self.scope.as_str()),
        ];
        let mut request = http.post(format!("{base}/v1/oauth/tokens")).form(&form);
        if let Some(realm) = realm {
            request = request.header("Polaris-Realm", realm);
        }
        let answer = receive(request).await.map_err(|reason| match reason {
            NoAnswer::NotSent(text) | NoAnswer::Lost(text) => {
                CatalogError::unavailable(format!("login failed: {text}"))
            }
            NoAnswer::NoToken(error) => error,
        })?;
        if matches!(answer.status.as_u16(), 400 | 401 | 403) {
            let text = outcome::explain(&answer);
            return Err(CatalogError::Unauthorized(format!("client `{}` cannot log in: {text}", client.id)));
        }
        let answer = outcome::check(answer)?;
        let token: TokenAnswer = serde_json::from_slice(&answer.body).map_err(|error| {
            CatalogError::BrokenAnswer { context: "login".to_owned(), source: error.into() }
        })?;
        let renew_at = token.expires_in.map(|seconds| {
            let life = Duration::from_secs(seconds);
            started + (life - MAX_MARGIN.min(life / 10))
        });
        Ok(Token { text: Secret::new(token.access_token), renew_at })
    }
}
