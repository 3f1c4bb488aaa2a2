//! Ground truth: what a run really told, written beside it as Parquet files while it goes on.
//!
//! | file | one row per |
//! | --- | --- |
//! | `topics.parquet` | topic: deliveries, rows, dead letters, distinct events |
//! | `sessions.parquet` | session: who, from when to when, how many pages and songs |
//! | `people.parquet` | session with anonymous pages: who it was |
//! | `plays.parquet` | song played |
//! | `churners.parquet` | listener who cancelled |
//! | `faults.parquet` | injected fault |
//!
//! Sessions, people, plays and churners come from what the listeners did, not from the records, so faults do not blur them; a
//! session that a second run tells too (D3, D4) stands there once per run. The truth never changes a record. It holds
//! one open session per listener and one count per song; a session is closed when its listener begins the next.

mod rows;
mod table;

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use self::{
    rows::{ChurnRow, FaultRow, PersonRow, PlayRow, SessionRow, TopicRow},
    table::Table,
};
pub use table::TruthError;

use crate::{
    event::{Moment, Topic},
    faults::{Delivery, Role, Twin, edit, kinds::Fate},
    machine::{Machine, PageKind},
};

/// One page that a listener entered.
#[derive(Clone, Copy, Debug)]
pub struct Happening {
    /// When, milliseconds since 1970.
    pub ts_ms: i64,
    /// Number of the session in the run.
    pub session_id: u64,
    /// The listener's place in the run, from 0.
    pub listener: u32,
    /// The listener's number, whether the event names them or not.
    pub user_id: u64,
    /// Number of the page in the session.
    pub item: u32,
    /// The song that begins, as an index into the catalogue.
    pub song: Option<u32>,
    /// Whether the event names the listener.
    pub shows_user: bool,
    /// Whether the listener is gone once the session ends here.
    pub is_churned: bool,
}

impl Happening {
    /// Returns what a moment of a run is.
    pub fn of(moment: &Moment<'_>, machine: &Machine) -> Self {
        let step = moment.step;
        let state = machine.state(step.state);
        Self {
            ts_ms: moment.ts_ms,
            session_id: moment.session_id,
            listener: step.listener,
            user_id: moment.listener_id,
            item: step.item,
            song: step.song.filter(|_| state.kind == PageKind::Song),
            shows_user: state.shows_user,
            is_churned: state.is_churned,
        }
    }
}

/// The files of a run's truth.
pub struct Truth {
    run_id: Arc<str>,
    twin_ids: BTreeMap<String, Arc<str>>,
    open: Vec<Option<Open>>,
    topics: Vec<TopicRow>,
    plays: BTreeMap<Arc<str>, Vec<u64>>,
    sessions: Table<SessionRow>,
    people: Table<PersonRow>,
    churners: Table<ChurnRow>,
    faults: Table<FaultRow>,
    plays_table: Table<PlayRow>,
    topics_table: Table<TopicRow>,
}

/// A session that may go on.
#[derive(Debug)]
struct Open {
    row: SessionRow,
    churned_ms: Option<i64>,
    is_churned: bool,
    twins: Vec<(Arc<str>, i64)>,
}

impl Truth {
    /// Makes the folder and the files of a run.
    ///
    /// # Errors
    /// Any [`TruthError`].
    pub fn create(folder: &Path, overwrite: bool, run_id: &str) -> Result<Self, TruthError> {
        fs::create_dir_all(folder).map_err(|source| TruthError::File { path: folder.to_owned(), source })?;
        let topics = Topic::ALL.iter().map(|topic| TopicRow { topic: topic.name(), ..TopicRow::default() });
        Ok(Self {
            run_id: run_id.into(),
            twin_ids: BTreeMap::new(),
            open: Vec::new(),
            topics: topics.collect(),
            plays: BTreeMap::new(),
            sessions: Table::create(folder, overwrite)?,
            people: Table::create(folder, overwrite)?,
            churners: Table::create(folder, overwrite)?,
            faults: Table::create(folder, overwrite)?,
            plays_table: Table::create(folder, overwrite)?,
            topics_table: Table::create(folder, overwrite)?,
        })
    }

    /// Takes in what a listener did; `twins` are the second runs that tell the session too.
    ///
    /// # Errors
    /// [`TruthError::Rows`].
    pub fn happened<'a>(
        &mut self,
        happening: &Happening,
        twins: impl Iterator<Item = &'a Twin>,
    ) -> Result<(), TruthError> {
        let place = happening.listener as usize;
        if place >= self.open.len() {
            self.open.resize_with(place + 1, || None);
        }
        let session_id = happening.session_id.cast_signed();
        if let Some(open) = self.open[place].take_if(|open| open.row.session_id != session_id) {
            self.close_session(open)?;
        }
        let mut open = match self.open[place].take() {
            Some(open) => open,
            None => self.begin(happening, twins),
        };
        open.take_in(happening);
        if let Some(song) = happening.song {
            count_play(&mut self.plays, &self.run_id, song);
            for (run_id, _) in &open.twins {
                count_play(&mut self.plays, run_id, song);
            }
        }
        self.open[place] = Some(open);
        Ok(())
    }

    fn begin<'a>(&mut self, happening: &Happening, twins: impl Iterator<Item = &'a Twin>) -> Open {
        let ids = &mut self.twin_ids;
        let mut id = |twin: &Twin| {
            Arc::clone(ids.entry(twin.run_id.clone()).or_insert_with(|| twin.run_id.as_str().into()))
        };
        Open {
            row: SessionRow {
                run_id: Arc::clone(&self.run_id),
                session_id: happening.session_id.cast_signed(),
                user_id: happening.user_id.cast_signed(),
                start_ms: happening.ts_ms,
                end_ms: happening.ts_ms,
                first_item: i64::from(happening.item),
                num_pages: 0,
                num_songs: 0,
                num_anonymous: 0,
            },
            churned_ms: None,
            is_churned: false,
            twins: twins.map(|twin| (id(twin), twin.shift_ms)).collect(),
        }
    }

    fn close_session(&mut self, open: Open) -> Result<(), TruthError> {
        let Open { row, churned_ms, is_churned, twins } = open;
        let own = (Arc::clone(&self.run_id), 0);
        for (run_id, shift_ms) in std::iter::once(own).chain(twins) {
            let SessionRow { session_id, user_id, num_anonymous, num_pages, .. } = row;
            if num_anonymous > 0 {
                let (run_id, num_known) = (Arc::clone(&run_id), num_pages - num_anonymous);
                self.people.push(PersonRow { run_id, session_id, user_id, num_anonymous, num_known })?;
            }
            if let Some(ts_ms) = churned_ms.filter(|_| is_churned) {
                let (run_id, ts_ms) = (Arc::clone(&run_id), ts_ms + shift_ms);
                self.churners.push(ChurnRow { run_id, user_id, ts_ms })?;
            }
            let (start_ms, end_ms) = (row.start_ms + shift_ms, row.end_ms + shift_ms);
            self.sessions.push(SessionRow { run_id, start_ms, end_ms, ..row.clone() })?;
        }
        Ok(())
    }

    /// Takes in a delivery that the sink has taken.
    ///
    /// # Errors
    /// [`TruthError::Rows`].
    pub fn delivered(&mut self, delivery: &Delivery<'_>) -> Result<(), TruthError> {
        let counts = &mut self.topics[delivery.topic as usize];
        let ordinal = counts.deliveries;
        let is_dead = delivery.faults.iter().any(|fault| matches!(fault.variant.fate, Fate::DeadLetter(_)));
        let is_new = delivery.role == Role::Event || delivery.run_id.is_some();
        counts.deliveries += 1;
        counts.rows += i64::from(!is_dead);
        counts.dead_letters += i64::from(is_dead);
        counts.distinct_events += i64::from(is_new);
        counts.bytes += delivery.value.map_or(0, <[u8]>::len) as i64;
        for fault in delivery.faults {
            let variant = fault.variant;
            let detail = fault.detail.as_ref().map_or(String::new(), |detail| format!(" ({detail})"));
            let reason = match variant.fate {
                Fate::DeadLetter(reason) => Some(reason.as_str()),
                Fate::Row | Fate::OtherRow => None,
            };
            self.faults.push(FaultRow {
                topic: delivery.topic.name(),
                ordinal,
                fault: fault.kind.id,
                variant: variant.name,
                effect: variant.effect.name(),
                what: format!("{}{detail}", variant.what),
                reason,
                run_id: delivery.run_id.map_or_else(|| Arc::clone(&self.run_id), Into::into),
                event_id: fault.event_id.clone(),
                row_id: fault.row_id.clone(),
                session_id: fault.event.session_id,
                item: fault.event.item,
                ts_ms: fault.event.ts_ms,
                user_id: fault.event.user_id,
            })?;
        }
        Ok(())
    }

    /// Closes all sessions and files. `song_json` returns the fields of a song of the catalogue, as events have them.
    ///
    /// # Errors
    /// [`TruthError::Rows`].
    pub fn finish<'a>(mut self, song_json: &dyn Fn(u32) -> &'a str) -> Result<(), TruthError> {
        let mut open: Vec<Open> = std::mem::take(&mut self.open).into_iter().flatten().collect();
        open.sort_by_key(|open| open.row.session_id);
        for open in open {
            self.close_session(open)?;
        }
        for (run_id, plays) in &self.plays {
            for (track, plays) in plays.iter().enumerate().filter(|(_, plays)| **plays > 0) {
                let json = format!("{{{}}}", song_json(track as u32));
                let text = |name| edit::text(json.as_bytes(), name).unwrap_or_default();
                let duration = edit::raw(json.as_bytes(), "duration").and_then(|raw| raw.parse().ok());
                let (artist, song, duration) = (text("artist"), text("song"), duration.unwrap_or(0.0));
                let (run_id, track, plays) = (Arc::clone(run_id), track as i64, plays.cast_signed());
                self.plays_table.push(PlayRow { run_id, track, artist, song, duration, plays })?;
            }
        }
        for row in std::mem::take(&mut self.topics) {
            self.topics_table.push(row)?;
        }
        self.sessions.close()?;
        self.people.close()?;
        self.churners.close()?;
        self.faults.close()?;
        self.plays_table.close()?;
        self.topics_table.close()
    }
}

impl Open {
    fn take_in(&mut self, happening: &Happening) {
        let row = &mut self.row;
        row.end_ms = happening.ts_ms;
        row.num_pages += 1;
        row.num_songs += i64::from(happening.song.is_some());
        row.num_anonymous += i64::from(!happening.shows_user);
        self.is_churned = happening.is_churned;
        if happening.is_churned {
            self.churned_ms.get_or_insert(happening.ts_ms);
        }
    }
}

fn count_play(plays: &mut BTreeMap<Arc<str>, Vec<u64>>, run_id: &Arc<str>, song: u32) {
    let counts = plays.entry(Arc::clone(run_id)).or_default();
    let place = song as usize;
    if place >= counts.len() {
        counts.resize(place + 1, 0);
    }
    counts[place] += 1;
}
