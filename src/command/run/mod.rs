//! `db-locks run`: a command under a lock.

mod deadline;
mod gate;
mod group;
mod part;
mod signals;
mod supervise;
mod terminal;
mod watchdog;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use db_locks::{Client, LockError, LockGuard, LockRequest, SendHeartbeatOptions};

use self::{
    signals::Signals,
    supervise::{End, supervise},
};
use super::{
    args::RunArgs,
    exit::{Failure, LOST, SIGNALLED, say},
    wait::Wait,
};

/// How long `run` waits for the lock by default.
const DEFAULT_WAIT: Duration = Duration::from_mins(10);

/// Runs a part of `run` that is a process of its own, if this process was started as one.
pub(crate) fn part_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next()?;
    if name == watchdog::NAME {
        return Some(watchdog::watch_as_asked());
    }
    (name == gate::NAME).then(|| gate::become_command(&arguments.collect::<Vec<_>>()))
}

/// Acquires the lock, runs the command, releases the lock.
pub(super) async fn run(args: RunArgs) -> ExitCode {
    match run_locked(&args).await {
        Ok(code) => ExitCode::from(code),
        Err(Failure::Lock(LockError::NotGranted(_))) if args.skip_if_locked => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run_locked(args: &RunArgs) -> Result<u8, Failure> {
    let mut signals = Signals::listen()?;
    let (client, guard) = tokio::select! {
        granted = acquire(args) => granted?,
        // Dropping the request leaves the queue.
        signal = signals.next() => return Ok(exit_code_of(signal)),
    };
    let granted = Instant::now();
    let end = supervise(&guard, &args.command, &mut signals).await?;
    let keep = args.min_hold.and_then(|hold| hold.0.checked_sub(granted.elapsed()));
    let held_to_the_end = match keep.filter(|keep| !keep.is_zero()) {
        Some(keep) if !guard.is_lost() => keep_for(&client, guard, keep).await,
        _ => release(guard).await,
    };
    Ok(match end {
        End::Exited(code) if held_to_the_end => code,
        End::Exited(_) | End::LockLost => LOST,
    })
}

async fn acquire(args: &RunArgs) -> Result<(Client, LockGuard), Failure> {
    let wait = Wait::of(&args.take.wait, if args.skip_if_locked { Duration::ZERO } else { DEFAULT_WAIT });
    let client = wait.connect(&args.connect).await?;
    wait.require_service(&*client, &args.take.key).await?;
    let request =
        if args.take.semaphore { client.permit(&args.take.key) } else { client.lock(&args.take.key) };
    let request = if args.take.guarded { request.guarded() } else { request };
    let owner = args.take.owner.clone().unwrap_or_else(default_owner);
    let request: LockRequest = request.lease(args.lease.0).owner(owner);
    let request = if wait.is_asked_for() { request } else { request.fail_when_turned_away() };
    let guard = request.wait(wait.rest()).acquire().await?;
    Ok((client, guard))
}

/// Keeps the lock for this time by a last heartbeat, and lets the lease end by itself. False if the lock was lost.
async fn keep_for(client: &Client, guard: LockGuard, keep: Duration) -> bool {
    let lease_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX).max(1);
    let version = guard.version().to_owned();
    let heartbeat = SendHeartbeatOptions::new(guard.key(), version, None, lease_ms, None);
    guard.leave_to_lease();
    match client.send_heartbeat(&heartbeat).await {
        Ok(_) => true,
        Err(LockError::Lost(_)) => false,
        Err(error) => {
            say(format_args!(
                "the lock is held until its lease ends, which --min-hold did not change: {error}"
            ));
            true
        }
    }
}

/// Releases the lock. False if it was lost.
async fn release(guard: LockGuard) -> bool {
    if guard.is_lost() {
        // Dropping the guard tries to release it once. Nobody waits for a service that may be away.
        return false;
    }
    match guard.release().await {
        Ok(()) => true,
        Err(LockError::Lost(_)) => false,
        Err(error) => {
            say(format_args!("the lock is held until its lease ends, since it cannot be released: {error}"));
            true
        }
    }
}

/// The exit code of a program that this signal ended.
fn exit_code_of(signal: rustix::process::Signal) -> u8 {
    SIGNALLED.saturating_add(u8::try_from(signal.as_raw()).unwrap_or_default())
}

/// `USER@HOST:PID`.
pub(super) fn default_owner() -> String {
    let user =
        ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let user = user.unwrap_or_else(|| format!("uid{}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host}:{}", std::process::id())
}
