//! The first contact with a cluster: waits until a broker answers, and says why none does.
//!
//! librdkafka tries again for ever, and tells why it failed only to those who poll. A login or certificate that was refused
//! ends the wait at once: trying again would not help, and may lock the account.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, DeliveryResult, Producer, ProducerContext},
};
use tokio_util::sync::CancellationToken;

use super::{
    SinkError,
    kafka::KafkaSettings,
    topics::{base_config, refused},
};

/// How long a broker may take to answer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one look takes, and so the longest delay of a stop.
const LOOK: Duration = Duration::from_millis(100);

/// What the client library said went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// May heal.
    Passing(String),
    /// The broker, or we, refused a login or a certificate.
    Refusal(String),
}

/// Remembers the problem that says most: the first refusal, else the latest that is not a mere consequence.
#[derive(Default)]
struct Problems(Mutex<Option<Problem>>);

impl Problems {
    fn note(&self, error: &KafkaError, reason: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = match (known.take(), error) {
            (Some(refusal @ Problem::Refusal(_)), _) => Some(refusal),
            (_, KafkaError::Global(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL)) => {
                Some(Problem::Refusal(reason.to_owned()))
            }
            // It follows every failed connection and hides the cause.
            (Some(cause), KafkaError::Global(RDKafkaErrorCode::AllBrokersDown)) => Some(cause),
            _ => Some(Problem::Passing(reason.to_owned())),
        };
    }

    fn known(&self) -> Option<Problem> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Problems {
    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error, reason);
    }
}

impl ProducerContext for Problems {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Waits until a broker answers.
///
/// # Errors
/// [`SinkError::KafkaOption`], [`SinkError::KafkaSettings`], [`SinkError::LoginRefused`], [`SinkError::BrokersUnreachable`],
/// [`SinkError::Stopped`].
pub(super) fn await_broker(settings: &KafkaSettings, stop: &CancellationToken) -> Result<(), SinkError> {
    let servers = || settings.servers.clone();
    let client: BaseProducer<Problems> = base_config(settings)
        .create_with_context(Problems::default())
        .map_err(|source| refused(&settings.servers, source))?;
    let started = Instant::now();
    // Any request that finds no broker makes the library connect now; this one does not wait for its answer.
    let _ = client.client().fetch_metadata(None, Duration::ZERO);
    while started.elapsed() < BROKER_TIMEOUT {
        if stop.is_cancelled() {
            return Err(SinkError::Stopped);
        }
        if client.client().fetch_cluster_id(LOOK).is_some() {
            return Ok(());
        }
        client.poll(Duration::from_millis(1));
        if let Some(Problem::Refusal(reason)) = client.context().known() {
            return Err(SinkError::LoginRefused { servers: servers(), reason });
        }
    }
    let last_problem = client.context().known().map(|problem| match problem {
        Problem::Passing(reason) | Problem::Refusal(reason) => reason,
    });
    Err(SinkError::BrokersUnreachable { servers: servers(), seconds: BROKER_TIMEOUT.as_secs(), last_problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(errors: &[(RDKafkaErrorCode, &str)]) -> Option<Problem> {
        let problems = Problems::default();
        for (code, reason) in errors {
            problems.note(&KafkaError::Global(*code), reason);
        }
        problems.known()
    }

    #[test]
    fn a_refused_login_is_what_is_remembered_whatever_follows() {
        let found = noted(&[
            (RDKafkaErrorCode::BrokerTransportFailure, "refused to connect"),
            (RDKafkaErrorCode::Authentication, "invalid credentials"),
            (RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down"),
        ]);

        assert_eq!(found, Some(Problem::Refusal("invalid credentials".to_owned())));
    }

    #[test]
    fn the_cause_is_not_hidden_by_its_consequence() {
        let found = noted(&[
            (RDKafkaErrorCode::BrokerTransportFailure, "refused to connect"),
            (RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down"),
        ]);

        assert_eq!(found, Some(Problem::Passing("refused to connect".to_owned())));
    }
}
