use super::*;

/// Waits until `found` gives something.
fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "no {what} after {PATIENCE:?}");
        thread::park_timeout(POLL);
    }
}

fn running(home: &BrokerHome) -> BrokerFile {
    wait_for("broker", || match home.status().unwrap() {
        Status::Running(file) => Some(file),
        _ => None,
    })
}

#[test]
fn broker_is_found_while_it_runs_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let home = BrokerHome::new(folder.path()).unwrap();
    let stop = CancellationToken::new();
    let (theirs, token) = (home.clone(), stop.clone());
    assert_eq!(home.status().unwrap(), Status::Stopped { gone: None });

    let thread = thread::spawn(move || theirs.run(2, &token, &mut |_| {}));
    let file = running(&home);
    answers(&file.bootstrap_servers).unwrap();
    let second = home.run(2, &CancellationToken::new(), &mut |_| {}).unwrap_err();
    stop.cancel();
    thread.join().unwrap().unwrap();

    assert!(matches!(second, BrokerError::AlreadyRunning { .. }), "{second}");
    assert_eq!(home.status().unwrap(), Status::Stopped { gone: None });
    assert!(!home.file().exists());
}

#[test]
fn broker_ends_when_its_file_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let home = BrokerHome::new(folder.path()).unwrap();
    let theirs = home.clone();
    let thread = thread::spawn(move || theirs.run(1, &CancellationToken::new(), &mut |_| {}));
    let file = running(&home);

    fs::remove_file(home.file()).unwrap();
    thread.join().unwrap().unwrap();

    assert!(answers(&file.bootstrap_servers).is_err());
}

#[test]
fn file_of_a_killed_broker_is_told_from_a_living_one() {
    let folder = tempfile::tempdir().unwrap();
    let home = BrokerHome::new(folder.path()).unwrap();
    home.create_folder().unwrap();
    File::create(folder.path().join("broker/lock")).unwrap();
    let file = BrokerFile {
        pid: 1,
        bootstrap_servers: "127.0.0.1:1".to_owned(),
        identity: "a".to_owned(),
        started_at: "2026-01-01T00:00:00Z".to_owned(),
        num_partitions: 4,
    };
    home.write(&file).unwrap();

    assert_eq!(home.status().unwrap(), Status::Stopped { gone: Some(file) });
    assert_eq!(home.stop().unwrap(), None);
}
