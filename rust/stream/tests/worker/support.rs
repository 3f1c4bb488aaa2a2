//! An in-process Kafka (librdkafka's mock cluster), a lake in a temporary folder, and a worker between them.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use clap::Parser;
use futures::TryStreamExt;
use iceberg::TableIdent;
use iceberg::table::Table;
use prometheus_client::registry::Registry;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use streamify_lake::{Lake, LakeSettings, LoadedTable};
use streamify_runtime::endpoint::Health;
use streamify_stream::cli::Cli;
use streamify_stream::error::StreamError;
use streamify_stream::report::{Report, Summary};
use streamify_stream::session::End;
use streamify_stream::settings::Settings;
use streamify_stream::worker::Worker;
use tokio_util::sync::CancellationToken;

pub const DEADLINE: Duration = Duration::from_secs(60);
pub const LISTENS: &str = "listen_events";
pub const PAGES: &str = "page_view_events";
pub const DEAD_LETTERS: &str = "bronze_dead_letters";
/// 2026-11-20T00:00:00Z
pub const BASE_MS: i64 = 1_795_132_800_000;

pub struct Kafka {
    pub mock: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Kafka {
    pub fn with_topics(topics: &[(&str, i32)]) -> Self {
        let mock = MockCluster::new(1).unwrap();
        for (topic, num_partitions) in topics {
            mock.create_topic(topic, *num_partitions, 1).unwrap();
        }
        let producer = ClientConfig::new()
            .set("bootstrap.servers", mock.bootstrap_servers())
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "1000000")
            .create()
            .unwrap();
        Self { mock, producer }
    }

    pub fn send(&self, topic: &str, partition: i32, value: &[u8]) {
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).key(b"key").payload(value);
        self.producer.send(record.timestamp(BASE_MS)).map_err(|(error, _)| error).unwrap();
    }

    pub fn flush(&self) {
        self.producer.flush(DEADLINE).unwrap();
    }

    /// Sends events `numbers` of a topic, spread over its partitions.
    pub fn send_events(&self, topic: &str, num_partitions: i32, numbers: std::ops::Range<i64>) {
        for number in numbers {
            let partition = i32::try_from(number % i64::from(num_partitions)).unwrap();
            self.send(topic, partition, event(topic, number, BASE_MS + number).as_bytes());
        }
        self.flush();
    }
}

/// A valid event of a topic.
pub fn event(topic: &str, number: i64, ts: i64) -> String {
    let user = number % 97;
    let session = number / 10;
    let item = number % 10;
    let page = if topic == LISTENS {
        format!(r#""artist":"A{user}","song":"S{number}","duration":215.5"#)
    } else {
        r#""page":"Home","method":"GET","status":200"#.to_owned()
    };
    format!(
        r#"{{{page},"ts":{ts},"sessionId":{session},"auth":"Logged In","level":"paid","itemInSession":{item},"city":"Lowell","zip":"01850","state":"MA","userAgent":"\"Mozilla\"","lon":-71.3,"lat":42.6,"userId":{user},"lastName":"L","firstName":"F","gender":"F","registration":1790000000000}}"#
    )
}

pub struct Home {
    folder: tempfile::TempDir,
}

/// A row's place in Kafka: epoch, partition, offset.
pub type Place = (i32, i32, i64);

impl Home {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn lake_settings(&self) -> LakeSettings {
        let home = self.folder.path().to_string_lossy().into_owned();
        LakeSettings::from_env(&|name| (name == "STREAMIFY_HOME").then(|| home.clone())).unwrap()
    }

    /// Settings for `topics` with further flags.
    pub fn settings(&self, kafka: &Kafka, topics: &str, flags: &[&str]) -> Settings {
        let servers = kafka.mock.bootstrap_servers();
        let home = self.folder.path().to_string_lossy().into_owned();
        let fixed =
            ["streamify-stream", "--bootstrap-servers", &servers, "--topics", topics, "--home", &home];
        let fixed = fixed.into_iter().chain(["--decode-threads", "2"]);
        // The mock's clusters all have one id; the tests tell them apart by `--source-id`.
        let defaults = [["--connect-timeout", "30s"], ["--source-id", "first"]];
        let defaults = defaults.into_iter().filter(|[flag, _]| !flags.contains(flag)).flatten();
        let cli = Cli::try_parse_from(fixed.chain(defaults).chain(flags.iter().copied())).unwrap();
        cli.settings([]).unwrap()
    }

    pub fn worker(&self, settings: Settings) -> Worker {
        let mut registry = Registry::default();
        Worker::new(settings, self.lake_settings(), &mut registry, Health::new(), Instant::now()).unwrap()
    }

    /// Runs until caught up.
    pub async fn catch_up(
        &self,
        kafka: &Kafka,
        topics: &str,
        flags: &[&str],
    ) -> Result<Summary, StreamError> {
        let flags: Vec<&str> = ["--until", "caught-up"].iter().chain(flags).copied().collect();
        self.run(self.settings(kafka, topics, &flags)).await
    }

    pub async fn run(&self, settings: Settings) -> Result<Summary, StreamError> {
        let worker = self.worker(settings);
        let end = worker.run(CancellationToken::new()).await?;
        assert_eq!(end, End::CaughtUp);
        Ok(worker.report().summary(end.as_str()))
    }

    pub async fn table(&self, name: &str) -> Option<LoadedTable> {
        let lake = Lake::open(&self.lake_settings()).await.unwrap();
        lake.catalog().load_table(name).await.unwrap()
    }

    pub async fn num_snapshots(&self, name: &str) -> usize {
        self.table(name).await.map_or(0, |table| table.metadata.snapshots().count())
    }

    /// Returns a snapshot summary's entry, for each snapshot that has it.
    pub async fn summaries(&self, name: &str, entry: &str) -> Vec<String> {
        let table = self.table(name).await.unwrap();
        let summary = |snapshot: &iceberg::spec::SnapshotRef| {
            snapshot.summary().additional_properties.get(entry).cloned()
        };
        table.metadata.snapshots().filter_map(summary).collect()
    }

    /// Reads the current rows of a table through the iceberg crate's reader.
    pub async fn rows(&self, name: &str) -> Vec<RecordBatch> {
        let Some(loaded) = self.table(name).await else { return Vec::new() };
        if loaded.metadata.current_snapshot().is_none() {
            return Vec::new();
        }
        let table = Table::builder()
            .file_io(loaded.file_io.clone())
            .metadata(Arc::clone(&loaded.metadata))
            .runtime(iceberg::Runtime::try_current().unwrap())
            .identifier(TableIdent::from_strs(["streamify", name]).unwrap())
            .build()
            .unwrap();
        let scan = table.scan().build().unwrap();
        scan.to_arrow().await.unwrap().try_collect().await.unwrap()
    }

    /// Returns how often each place stands in a bronze table or, for that topic, in the dead-letter table.
    pub async fn places(&self, topic: &str) -> BTreeMap<Place, usize> {
        let mut places = BTreeMap::new();
        for batch in self.rows(&format!("bronze_{topic}")).await {
            let columns = ["_source_epoch", "_kafka_partition", "_kafka_offset"];
            add_places(&mut places, &batch, columns, |_| true);
        }
        for batch in self.rows(DEAD_LETTERS).await {
            let topics = batch.column_by_name("topic").unwrap().as_string::<i32>().clone();
            let is_ours = |row: usize| topics.value(row) == topic;
            add_places(&mut places, &batch, ["source_epoch", "partition", "offset"], is_ours);
        }
        places
    }

    /// Asserts that every offset below `ends` (by partition) stands in the tables exactly once.
    pub async fn assert_exactly_once(&self, topic: &str, epoch: i32, ends: &[i64]) {
        let places = self.places(topic).await;
        let of_epoch = places.iter().filter(|((found, _, _), _)| *found == epoch);
        let found: BTreeMap<(i32, i64), usize> =
            of_epoch.map(|((_, partition, offset), count)| ((*partition, *offset), *count)).collect();
        let expected: BTreeMap<(i32, i64), usize> = ends
            .iter()
            .zip(0..)
            .flat_map(|(end, partition)| (0..*end).map(move |offset| ((partition, offset), 1)))
            .collect();
        let missing = expected.keys().find(|place| !found.contains_key(place));
        let wrong = found.iter().find(|(place, count)| expected.get(place) != Some(*count));
        assert!(missing.is_none() && wrong.is_none(), "{topic}: missing {missing:?}, wrong {wrong:?}");
    }
}

fn add_places(
    places: &mut BTreeMap<Place, usize>,
    batch: &RecordBatch,
    columns: [&str; 3],
    is_ours: impl Fn(usize) -> bool,
) {
    let [epoch, partition, offset] = columns.map(|name| batch.column_by_name(name).unwrap());
    let (epoch, partition) = (epoch.as_primitive::<Int32Type>(), partition.as_primitive::<Int32Type>());
    let offset = offset.as_primitive::<Int64Type>();
    for row in (0..batch.num_rows()).filter(|row| is_ours(*row)) {
        *places.entry((epoch.value(row), partition.value(row), offset.value(row))).or_default() += 1;
    }
}

/// A worker that runs beside the test.
pub struct Running {
    pub report: Arc<Report>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<End, StreamError>>,
}

impl Running {
    pub fn start(home: &Home, settings: Settings) -> Self {
        let worker = home.worker(settings);
        let (report, shutdown) = (worker.report(), CancellationToken::new());
        let token = shutdown.clone();
        let task = tokio::spawn(async move { worker.run(token).await });
        Self { report, shutdown, task }
    }

    pub fn rows(&self) -> u64 {
        self.report.summary("").total.rows
    }

    pub async fn wait_for_rows(&self, rows: u64) {
        until(&format!("{rows} rows"), || async { self.rows() >= rows }).await;
    }

    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    pub async fn stop(self) -> Result<End, StreamError> {
        self.shutdown.cancel();
        self.ended().await
    }

    pub async fn ended(self) -> Result<End, StreamError> {
        tokio::time::timeout(DEADLINE, self.task).await.expect("the worker did not end").unwrap()
    }
}

/// Waits for a condition.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
