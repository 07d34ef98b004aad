//! What the kernel knows: of the machine, and of what a process has used.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::report::milliseconds;

/// `USER_HZ`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The machine, how busy others keep it, and the build, in one line.
///
/// # Errors
/// If /proc doesn't tell.
pub fn description() -> anyhow::Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let cores = thread::available_parallelism()?;
    let memory = field("/proc/meminfo", "MemTotal:")? / 1024.0;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the kernel")?;
    let load = fs::read_to_string("/proc/loadavg").context("reading the load")?;
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    Ok(format!(
        "{cores} cores ({model}), {memory:.0} GiB, Linux {}, {profile} build; load {load} before. \
         Control plane, DNS, clients and Rollcall share the cores; etcd doesn't sync.",
        kernel.trim()
    ))
}

/// What a process has in memory, in MiB: now, and at most so far.
///
/// # Errors
/// If it has ended.
pub fn memory(process: u32) -> anyhow::Result<(f64, f64)> {
    let status = format!("/proc/{process}/status");
    Ok((field(&status, "VmRSS:")?, field(&status, "VmHWM:")?))
}

/// How much of that is a process's program, in MiB: pages of files, which the kernel drops if memory is
/// short.
///
/// # Errors
/// If it has ended.
pub fn program_memory(process: u32) -> anyhow::Result<f64> {
    field(&format!("/proc/{process}/status"), "RssFile:")
}

/// The processor time that a process has used, in seconds.
///
/// # Errors
/// If it has ended.
pub fn processor_seconds(process: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // the name, in brackets, may hold anything; user and system time are fields 14 and 15
    let (_, fields) = stat.rsplit_once(')').with_context(|| format!("{path} is strange"))?;
    let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(times.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

/// The processor time that this thread has used, in seconds.
pub fn thread_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The processor time that other machines of this host have taken from this one, in seconds.
///
/// # Errors
/// If /proc doesn't tell.
pub fn stolen_seconds() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    // "cpu", then user, nice, system, idle, iowait, irq, softirq, steal
    let stolen = stat.split_whitespace().nth(8).context("/proc/stat is strange")?;
    Ok(stolen.parse::<f64>()? / TICKS_PER_SECOND)
}

/// How long the disk takes to keep one block that is written again, in milliseconds: tried now and then
/// while it `goes_on`.
///
/// # Errors
/// If `folder` can't be written.
pub fn syncs(folder: &Path, mut goes_on: impl FnMut() -> bool) -> anyhow::Result<Vec<f64>> {
    let file = File::create(folder.join("sync")).context("trying the disk")?;
    file.write_all_at(&[0; 4096], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    while goes_on() {
        file.write_all_at(&[1; 4096], 0)?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(milliseconds(begun));
        thread::sleep(Duration::from_millis(50));
    }
    Ok(times)
}

/// A field of a file of /proc that is in KiB, in MiB.
fn field(path: &str, name: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    let kib: f64 = value.with_context(|| format!("{path} has no {name}"))?.parse()?;
    Ok(kib / 1024.0)
}
