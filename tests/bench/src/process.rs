//! A measured process and its resource usage.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use crate::Error;

/// A measured process. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    started: Instant,
    cpu_before: Duration,
    log: PathBuf,
}

/// The resource usage of a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system CPU time of all threads.
    pub cpu: Duration,
    /// Peak resident memory in KiB.
    pub peak_kib: u64,
}

impl Process {
    /// Starts `command` with its output redirected to `log`.
    ///
    /// [`finish`](Self::finish) reads CPU time as the sum over all terminated children, which is exact to the
    /// microsecond if only one process is measured at a time.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self, Error> {
        let output = File::create(log)?;
        command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        Self::spawn(name, command, log)
    }

    /// Starts `command`, with a channel for the lines of its standard output and its standard error redirected to
    /// `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_with_output(name: &str, command: &mut Command, log: &Path) -> Result<(Self, Receiver<String>), Error> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(log)?);
        let mut process = Self::spawn(name, command, log)?;
        let output = process.child.stdout.take().ok_or("no standard output")?;
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok((process, lines))
    }

    fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self, Error> {
        let cpu_before = cpu_of_children()?;
        let started = Instant::now();
        let child = command
            .spawn()
            .map_err(|error| format!("cannot start {name}: {}: {error}", command.get_program().to_string_lossy()))?;
        Ok(Self { name: name.to_owned(), child, started, cpu_before, log: log.to_owned() })
    }

    /// The time since it started.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits for a message of the process on `channel`.
    ///
    /// # Errors
    /// If the process exits first, or `limit` passes.
    pub fn wait_for<T>(&mut self, channel: &Receiver<T>, limit: Duration) -> Result<T, Error> {
        let since = Instant::now();
        loop {
            match channel.recv_timeout(Duration::from_millis(50)) {
                Ok(received) => return Ok(received),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failure(&format!("exited early: {status}")));
            }
            if since.elapsed() > limit {
                return Err(self.failure(&format!("did not finish within {} s", limit.as_secs())));
            }
        }
    }

    /// An error about the process, with the last lines of its log.
    #[must_use]
    pub fn failure(&self, problem: &str) -> Error {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n");
        format!("{} {problem}. Last lines of {}:\n{last}", self.name, self.log.display()).into()
    }

    /// User and system CPU time of all threads so far, to the nanosecond.
    ///
    /// # Errors
    /// If the process has exited.
    pub fn cpu(&self) -> Result<Duration, Error> {
        let clock = clock_getcpuclockid(Pid::from_raw(self.child.id().try_into()?))?;
        Ok(clock.now()?.into())
    }

    /// Resident memory in KiB.
    ///
    /// # Errors
    /// If the process has exited.
    pub fn resident_kib(&self) -> Result<u64, Error> {
        self.status("VmRSS")
    }

    fn status(&self, what: &str) -> Result<u64, Error> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mut lines = status.lines().filter_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        let number = lines.find_map(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok());
        number.ok_or_else(|| self.failure(&format!("has no {what}: it exited early")))
    }

    /// Kills the process and returns its resource usage.
    ///
    /// # Errors
    /// If the usage cannot be read.
    pub fn finish(mut self) -> Result<Usage, Error> {
        let peak_kib = self.status("VmHWM")?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(Usage { cpu: cpu_of_children()?.saturating_sub(self.cpu_before), peak_kib })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cpu_of_children() -> Result<Duration, Error> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}
