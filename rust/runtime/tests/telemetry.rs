//! Logging is set up once per process, so it has a test binary of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic in a test is the report")]

use std::sync::{Arc, Mutex};

use streamify_runtime::{BoxedLayer, LogFormat, RuntimeError, init_telemetry};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Keeps the levels of the events it sees.
struct Seen(Arc<Mutex<Vec<Level>>>);

impl<S: Subscriber> Layer<S> for Seen {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.lock().unwrap().push(*event.metadata().level());
    }
}

#[test]
fn the_filter_of_stderr_does_not_bind_the_extra_layer_and_a_second_call_is_refused() {
    let levels = Arc::new(Mutex::new(Vec::new()));
    let extra: BoxedLayer = Box::new(Seen(Arc::clone(&levels)));

    init_telemetry(LogFormat::Json, Some("error"), Some(extra)).unwrap();
    tracing::info!(rows = 3, "committed batch");
    tracing::error!("catalog is gone");
    let second = init_telemetry(LogFormat::Human, None, None);

    assert_eq!(*levels.lock().unwrap(), [Level::INFO, Level::ERROR]);
    assert!(matches!(second, Err(RuntimeError::SubscriberInstalled(_))), "{second:?}");
}
