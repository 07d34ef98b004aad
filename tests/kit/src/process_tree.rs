//! The processes that a program has started, and those that they have, for a program whose own end
//! doesn't wait for theirs.

use std::{
    fs,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// What has been started below a process, as it was when asked.
#[derive(Debug)]
pub struct ProcessTree {
    /// With their ids. The descriptors stay theirs even after they have ended.
    processes: Vec<(u32, OwnedFd)>,
}

impl ProcessTree {
    /// All that `id` has started directly or indirectly, without itself.
    pub fn below(id: u32) -> Self {
        let parents = parents();
        let mut found = vec![id];
        let mut next = 0;
        while let Some(&parent) = found.get(next) {
            found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
            next += 1;
        }
        let open = |id: u32| {
            let pid = Pid::from_raw(i32::try_from(id).ok()?)?;
            // One that can't be opened has ended meanwhile.
            Some((id, pidfd_open(pid, PidfdFlags::empty()).ok()?))
        };
        Self { processes: found.into_iter().skip(1).filter_map(open).collect() }
    }

    /// Their ids.
    pub fn ids(&self) -> Vec<u32> {
        self.processes.iter().map(|(id, _)| *id).collect()
    }

    /// Ends them (SIGKILL) and waits until they have, at most for `timeout`.
    pub fn kill(&self, timeout: Duration) {
        for (_, process) in &self.processes {
            // An error says that it has ended already.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        let end = Instant::now() + timeout;
        for (_, process) in &self.processes {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            // Readable once it has ended; a wait that is cut short makes nothing worse.
            let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&left));
        }
    }
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            // The name is in parentheses and may have some itself; state and parent come next.
            let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()?;
            Some((id, parent))
        })
        .collect()
}
