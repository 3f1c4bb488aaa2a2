//! Signals against a real process: this test binary starts itself again as the child.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic in a test is the report")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use streamify_runtime::{ExitCode, shutdown_token};

const ROLE: &str = "STREAMIFY_TEST_CHILD";

/// The child: says `ready`, then `cancelled` once the token is; then either ends or stays, blocking its only runtime thread.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let token = shutdown_token().unwrap();
    say("ready");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(token.cancelled());
    say("cancelled");
    if role == "stays" {
        loop {
            std::thread::park();
        }
    }
    std::process::exit(ExitCode::Done.code().into());
}

fn say(word: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "\n{word}").unwrap();
    stdout.flush().unwrap();
}

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Process {
    fn start(role: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads on until the child has said `word`; fails at the end of its output.
    fn expect(&mut self, word: &str) {
        let found = self.lines.by_ref().map_while(Result::ok).any(|line| line == word);
        assert!(found, "the child ended without saying `{word}`");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn exit_code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

#[test]
fn the_first_signal_only_asks() {
    for signal in ["-INT", "-TERM"] {
        let mut process = Process::start("ends");
        process.expect("ready");

        process.signal(signal);

        process.expect("cancelled");
        assert_eq!(process.exit_code(), Some(0), "{signal}");
    }
}

#[test]
fn the_second_signal_ends_a_process_that_is_blocked() {
    for (first, second, code) in [("-INT", "-INT", 130), ("-INT", "-TERM", 143), ("-TERM", "-INT", 130)] {
        let mut process = Process::start("stays");
        process.expect("ready");
        process.signal(first);
        process.expect("cancelled");

        process.signal(second);

        assert_eq!(process.exit_code(), Some(code), "{first} {second}");
    }
}
