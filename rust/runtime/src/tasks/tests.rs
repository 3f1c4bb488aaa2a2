use std::io;

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

async fn until_cancelled(token: CancellationToken) -> Result<(), io::Error> {
    token.cancelled().await;
    Ok(())
}

#[tokio::test]
async fn tasks_that_end_after_shutdown_end_well() {
    let token = CancellationToken::new();
    let mut tasks = Tasks::new(token.clone());
    tasks.spawn("intake", until_cancelled(token.clone()));
    tasks.spawn("committer", until_cancelled(token.clone()));

    token.cancel();
    let outcome = tasks.run(DEADLINE).await;

    assert!(outcome.is_ok(), "{outcome:?}");
}

#[tokio::test]
async fn a_service_that_ends_early_stops_the_others_and_is_named() {
    let token = CancellationToken::new();
    let mut tasks = Tasks::new(token.clone());
    tasks.spawn("committer", until_cancelled(token.clone()));
    tasks.spawn("intake", async { Ok::<(), io::Error>(()) });

    let error = tasks.run(DEADLINE).await.unwrap_err();

    assert!(token.is_cancelled());
    assert_eq!(error.to_string(), "task `intake` ended although it was to run until shutdown");
}

#[tokio::test]
async fn a_failed_task_is_reported_with_its_own_error() {
    let token = CancellationToken::new();
    let mut tasks = Tasks::new(token.clone());
    tasks.spawn("committer", until_cancelled(token.clone()));
    tasks.spawn("upload", async { Err::<(), _>(io::Error::other("bucket is gone")) });

    let error = tasks.run(DEADLINE).await.unwrap_err();

    assert_eq!(error.to_string(), "task `upload` failed");
    assert_eq!(error.source().unwrap().to_string(), "bucket is gone");
    assert!(error.task_source().unwrap().downcast_ref::<io::Error>().is_some());
}

#[tokio::test]
async fn a_panic_is_reported_with_its_message() {
    let mut tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("decode", async {
        let number = 7;
        if number == 7 {
            panic!("offset {number} went backwards");
        }
        Ok::<(), io::Error>(())
    });

    let error = tasks.run(DEADLINE).await.unwrap_err();

    assert_eq!(error.to_string(), "task `decode` panicked: offset 7 went backwards");
}

#[tokio::test]
async fn when_all_jobs_are_done_the_services_are_told_to_stop() {
    let token = CancellationToken::new();
    let mut tasks = Tasks::new(token.clone());
    tasks.spawn("metrics", until_cancelled(token.clone()));
    tasks.spawn_job("catch-up", async { Ok::<(), io::Error>(()) });

    let outcome = tasks.run(DEADLINE).await;

    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(token.is_cancelled());
}

#[tokio::test]
async fn a_drain_that_takes_too_long_names_who_is_still_running() {
    let token = CancellationToken::new();
    let mut tasks = Tasks::new(token.clone());
    tasks.spawn("metrics", until_cancelled(token.clone()));
    tasks.spawn("upload", std::future::pending::<Result<(), io::Error>>());
    tasks.spawn("committer", std::future::pending::<Result<(), io::Error>>());

    token.cancel();
    let error = tasks.run(Duration::from_millis(20)).await.unwrap_err();

    assert_eq!(error.to_string(), "2 tasks are still running 20ms after shutdown: `committer`, `upload`");
}

/// Tells the test of each warning.
struct Warnings(mpsc::UnboundedSender<String>);

impl<S: tracing::Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Tasks(String);
        impl Visit for Tasks {
            fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
            fn record_str(&mut self, field: &Field, value: &str) {
                if field.name() == "tasks" {
                    self.0 = value.to_owned();
                }
            }
        }
        let mut tasks = Tasks(String::new());
        event.record(&mut tasks);
        let _ = self.0.send(tasks.0);
    }
}

#[tokio::test]
async fn a_drain_says_who_is_still_running_while_nothing_ends() {
    let (warned_tx, mut warned_rx) = mpsc::unbounded_channel();
    let subscriber = tracing_subscriber::registry().with(Warnings(warned_tx).with_filter(LevelFilter::WARN));
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut tasks = Tasks::new(CancellationToken::new());
    tasks.progress_interval = Duration::from_millis(1);
    // Ends only after the drain has named it twice.
    tasks.spawn("upload", async move {
        for _ in 0..2 {
            assert_eq!(warned_rx.recv().await.unwrap(), "`upload`");
        }
        Ok::<(), io::Error>(())
    });

    let outcome = tasks.drain(DEADLINE).await;

    assert!(outcome.is_ok(), "{outcome:?}");
}

#[tokio::test]
async fn the_first_error_wins_over_those_of_the_drain() {
    let token = CancellationToken::new();
    let mut tasks = Tasks::new(token.clone());
    tasks.spawn("intake", async { Err::<(), _>(io::Error::other("broker is gone")) });
    let late = token.clone();
    tasks.spawn("committer", async move {
        late.cancelled().await;
        Err::<(), _>(io::Error::other("nothing to commit"))
    });

    let error = tasks.run(DEADLINE).await.unwrap_err();

    assert_eq!(error.to_string(), "task `intake` failed");
}

#[tokio::test]
async fn a_set_without_tasks_ends_at_once() {
    let outcome = Tasks::new(CancellationToken::new()).run(DEADLINE).await;

    assert!(outcome.is_ok());
}
