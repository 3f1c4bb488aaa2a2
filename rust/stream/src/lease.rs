//! Leases on the bronze tables: a second writer is not started by accident.
//!
//! A run that reads all partitions, or a fixed share, has one lease on each of its tables. It is taken with the first commit, or
//! a second after the start where nothing comes; every commit renews it, on an idle topic an empty one; the end of a session
//! gives it up. A run that finds another writer's lease at its start waits only until it is clear whether that writer lives:
//! one that renews does, one whose lease runs out does not. On the same machine that is known at once.
//!
//! In a consumer group the group says who reads what, so its members take no leases; they respect those of others.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use streamify_core::lease::{Lease, Process};
use streamify_lake::commit::Committer;
use streamify_lake::commit::claim::Claim;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::clock;
use crate::error::StreamError;
use crate::settings::{Assignment, Settings};

/// When a lease is taken at the latest, from the start on.
pub const FIRST: Duration = Duration::from_secs(1);
/// How often a lease is renewed on an idle topic, at most.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(1);

/// Returns how often a lease of this time is renewed: two renewals may fail before it runs out.
pub fn renewal_interval(time: Duration) -> Duration {
    (time / 3).min(LONGEST_INTERVAL)
}

/// Returns this process, as leases name it.
pub fn this_process() -> Process {
    let pid = std::process::id();
    let host = read("/proc/sys/kernel/hostname").or_else(|| std::env::var("HOSTNAME").ok());
    Process {
        host: host.unwrap_or_else(|| "unknown".to_owned()),
        pid,
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        started_ticks: started_ticks(pid),
    }
}

/// Returns whether a process has surely ended: it ran under this boot of this machine, and is not there any more.
pub fn has_died(process: &Process) -> bool {
    is_here(process)
        && (process.started_ticks.is_none() || process.started_ticks != started_ticks(process.pid))
}

/// Containers have host names of their own, so one does not judge by its own process ids over another.
fn is_here(process: &Process) -> bool {
    let here = this_process();
    here.boot_id.is_some() && here.boot_id == process.boot_id && here.host == process.host
}

/// The 22nd field of `/proc/<pid>/stat`; the second one, in parentheses, may hold anything.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Returns the claim of a run on one of its tables; `None` where it takes no lease.
fn claim(settings: &Settings) -> Option<Claim> {
    let time = settings.lease_time?;
    let partitions: Option<BTreeSet<i32>> = match &settings.assignment {
        Assignment::All | Assignment::Group => None,
        Assignment::Static(ours) => Some(ours.clone()),
    };
    let writer_id = settings.writer_id.to_string();
    let lease = Lease { writer_id, process: this_process(), partitions, since_ms: 0, valid_until_ms: 0 };
    Some(Claim::new(lease, time, settings.take_over, has_died))
}

/// Gives a table's committer the run's claim, once no other writer has the table.
///
/// # Errors
/// [`StreamError::LeaseHeld`] by a writer that lives.
pub async fn claim_table(settings: &Settings, table: &mut Committer) -> Result<(), StreamError> {
    let (Some(claim), Some(time)) = (claim(settings), settings.lease_time) else { return Ok(()) };
    let is_member = settings.assignment == Assignment::Group;
    table.set_claim(claim);
    wait_for_others(table, time).await?;
    if is_member {
        table.drop_claim();
    }
    Ok(())
}

async fn wait_for_others(table: &mut Committer, time: Duration) -> Result<(), StreamError> {
    let Some(first) = table.lease_holder() else { return Ok(()) };
    let held = |table: &Committer, lease| StreamError::LeaseHeld {
        table: table.table().name.clone(),
        lease: Box::new(lease),
    };
    let left_ms = first.valid_until_ms - clock::now_us() / 1000;
    let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
    // A clock that is ahead must not make anybody wait for ever.
    if is_here(&first.process) || left > 2 * time.max(LONGEST_INTERVAL) {
        return Err(held(table, first));
    }
    warn!(table = table.table().name, lease = %first, seconds = left.as_secs(), "waiting to see whether the writer that holds the lease lives; `--take-over` does not wait");
    let deadline = Instant::now() + left + LOOK;
    loop {
        sleep(LOOK).await;
        table.refresh().await?;
        match table.lease_holder() {
            None => {
                info!(table = table.table().name, "the lease has run out, or was given up");
                return Ok(());
            }
            Some(holder) if holder != first || Instant::now() >= deadline => return Err(held(table, holder)),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_one_with_its_id_but_another_start_does_not() {
        let here = this_process();
        assert_eq!(here.pid, std::process::id());
        assert!(!has_died(&here));

        let former = Process { started_ticks: here.started_ticks.map(|ticks| ticks + 1), ..here.clone() };
        assert!(has_died(&former));
        let elsewhere = Process { host: format!("{}-other", here.host), ..former.clone() };
        assert!(!has_died(&elsewhere), "another host's processes cannot be judged");
        let before = Process { boot_id: Some("another".into()), ..former };
        assert!(!has_died(&before), "nor those of a machine that may only have the same name");
    }

    #[test]
    fn a_lease_is_renewed_three_times_in_its_time_and_every_half_minute_at_most() {
        assert_eq!(renewal_interval(Duration::from_secs(6)), Duration::from_secs(2));
        assert_eq!(renewal_interval(Duration::from_secs(3600)), LONGEST_INTERVAL);
    }
}
