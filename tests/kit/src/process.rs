//! Child processes that never outlive their parent, however it ends: normally, by a panic, or by
//! SIGKILL. A test suite that is interrupted leaves no API server behind.
//!
//! The kernel does it (`PR_SET_PDEATHSIG`, set by util-linux's `setpriv`). That signal comes when
//! the *thread* that made the child ends, so all are made by one thread that never does.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::TcpListener,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU16, atomic::Ordering, mpsc},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::sync::watch;

/// How long a child may take to end after SIGTERM, unless [`Process::set_grace`] says otherwise.
const GRACE: Duration = Duration::from_secs(5);
const LOG_TAIL_LINES: usize = 30;

/// A running program, with a file that takes its output. Ended when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    id: u32,
    child: Mutex<Child>,
    /// Readable once the process has ended, and safe to signal even then.
    pidfd: OwnedFd,
    ended: watch::Receiver<bool>,
    log: PathBuf,
    grace: Duration,
}

impl Process {
    /// Starts `command` (its program, arguments, environment and folder; not its stdio) with
    /// standard output and error going to the file `log`.
    ///
    /// # Errors
    /// If the log can't be made or `setpriv` can't be run. A program that isn't there ends with
    /// status 127.
    pub fn spawn(command: &Command, log: &Path) -> anyhow::Result<Self> {
        let program = command.get_program();
        let name = Path::new(program)
            .file_name()
            .map_or_else(|| program.to_string_lossy(), |name| name.to_string_lossy())
            .into_owned();
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let out = File::create(log).with_context(|| format!("making {}", log.display()))?;
        let err = out.try_clone().with_context(|| format!("opening {}", log.display()))?;

        let mut guarded = Command::new("setpriv");
        // The shell closes a gap: were we to die before setpriv asked for the signal, none would
        // come. From then on, one would; so whoever's parent is still us has it.
        guarded
            .args(["--pdeathsig", "KILL", "--", "sh", "-c"])
            .arg(r#"[ "$PPID" = "$1" ] || exit 1; shift; exec "$@""#)
            .args(["sh", &std::process::id().to_string()])
            .arg(program)
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Ctrl-C is for the parent, which then ends its children in order.
            .process_group(0);
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(key, value),
                None => guarded.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            guarded.current_dir(folder);
        }
        let child = spawn_on_lasting_thread(guarded).with_context(|| {
            format!("starting {name} through setpriv (it is in Debian's package util-linux)")
        })?;
        let id = child.id();
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("opening the process")?;
        let ended = watch_end(&pidfd)?;
        let (child, log) = (Mutex::new(child), log.to_owned());
        Ok(Self { name, id, child, pidfd, ended, log, grace: GRACE })
    }

    /// How long [`stop`](Self::stop) and dropping give the process before SIGKILL; zero: none.
    pub fn set_grace(&mut self, grace: Duration) {
        self.grace = grace;
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The file that takes its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its output, for error messages.
    pub fn log_tail(&self) -> String {
        let Ok(file) = File::open(&self.log) else { return String::new() };
        let mut tail = VecDeque::with_capacity(LOG_TAIL_LINES + 1);
        for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
            tail.push_back(String::from_utf8_lossy(&line).into_owned());
            if tail.len() > LOG_TAIL_LINES {
                tail.pop_front();
            }
        }
        Vec::from(tail).join("\n")
    }

    /// The exit status, if it has ended.
    ///
    /// # Errors
    /// If the kernel refuses to tell.
    pub fn exited(&self) -> anyhow::Result<Option<ExitStatus>> {
        self.child().try_wait().with_context(|| format!("waiting for {}", self.name))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// If it still runs after `timeout`.
    pub async fn wait_for_exit(&self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        match tokio::time::timeout(timeout, self.ended()).await {
            Ok(status) => status,
            Err(_) => bail!(
                "{} still runs after {timeout:?}; its log ends:\n{}",
                self.name,
                self.log_tail()
            ),
        }
    }

    /// Never returns but with an error, once the process has ended: to be raced against a wait that
    /// is for nothing then.
    ///
    /// # Errors
    /// Always; it tells the exit status and the end of the log.
    pub async fn dies<T>(&self) -> anyhow::Result<T> {
        let status = self.ended().await?;
        bail!("{} ended ({status}); its log ends:\n{}", self.name, self.log_tail())
    }

    /// Asks it to end (SIGTERM), ends it (SIGKILL) if it hasn't within its grace, and returns how it
    /// ended.
    ///
    /// # Errors
    /// If it can't be signalled or waited for.
    pub async fn stop(&self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        match tokio::time::timeout(self.grace, self.ended()).await {
            Ok(status) => status,
            Err(_) => self.kill(),
        }
    }

    /// Ends it at once (SIGKILL), as a crash would, and returns how it ended.
    ///
    /// # Errors
    /// If it can't be signalled or waited for.
    pub fn kill(&self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.child().wait().with_context(|| format!("waiting for {}", self.name))
    }

    /// Lets it stand still (SIGSTOP), as a machine that is paused would.
    ///
    /// # Errors
    /// If it can't be signalled.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// If it can't be signalled.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    async fn ended(&self) -> anyhow::Result<ExitStatus> {
        // The sender goes only after it has sent, so an error means the same.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
        self.child().wait().with_context(|| format!("waiting for {}", self.name))
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            // It has ended already.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("signalling {}", self.name)),
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.grace.is_zero() && self.signal(Signal::TERM).is_ok() {
            let grace = Timespec {
                tv_sec: i64::try_from(self.grace.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: self.grace.subsec_nanos().into(),
            };
            // However it turns out, SIGKILL follows, which an ended process doesn't mind.
            let _ = poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&grace));
        }
        if let Err(error) = self.kill() {
            eprintln!("kit: {error:#}");
        }
    }
}

/// Becomes true once the process has ended: by a thread, since tokio's own way is bound to a runtime,
/// and processes outlive that of the test that started them.
fn watch_end(pidfd: &OwnedFd) -> anyhow::Result<watch::Receiver<bool>> {
    let pidfd = pidfd.try_clone().context("watching the process")?;
    let (sender, ended) = watch::channel(false);
    std::thread::spawn(move || {
        while poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None) == Err(Errno::INTR) {}
        sender.send_replace(true);
    });
    Ok(ended)
}

/// Makes the child on the one thread that lasts as long as this process.
fn spawn_on_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static THREAD: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let gone = || std::io::Error::other("the thread that starts processes is gone");
    let thread = THREAD.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                // Nobody waits for it any more: the child is dropped, and ends with us at the latest.
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let (reply, answer) = mpsc::channel();
    thread.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// A port of 127.0.0.1 that is free now, and that this process gives out only once.
///
/// It is not one of those that the kernel gives to outgoing connections, so that none of them takes
/// it before the server that it is for.
///
/// # Errors
/// If no port is free.
pub fn free_port() -> anyhow::Result<u16> {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run beside each other begin in different places.
    let start = u16::try_from(std::process::id() % 997).unwrap_or_default() * 20;
    for _ in 0..COUNT {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(start) % COUNT;
        if TcpListener::bind(("127.0.0.1", FIRST + offset)).is_ok() {
            return Ok(FIRST + offset);
        }
    }
    bail!("no port of 127.0.0.1 is free between {FIRST} and {}", FIRST + COUNT)
}
