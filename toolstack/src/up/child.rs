//! One appliance as a child process: started, watched, started again with patience when it dies.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chassis::seed::{Seed, Told};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What a child's keeper reports.
#[derive(Debug)]
pub enum Event {
    /// It runs as this process.
    Started(usize, u32),
    /// It wrote a line for us.
    Told(usize, Told),
    /// It wrote a line to the log.
    Log(usize, String),
    /// It ended; the text says how. It is started again after the pause, unless it is told to stop.
    Ended(usize, String, Duration),
    /// It ended because it was told to.
    Stopped(usize),
    /// A task of the supervisor has something for the log: a level and words.
    Said(&'static str, String),
}

/// What a keeper is told.
#[derive(Debug)]
pub enum Order {
    /// Pass this on to the appliance.
    Seed(Box<Seed>),
    /// End it, and the keeper.
    Stop,
    /// End it, wait, start it again when the reply channel is answered (for a backup).
    Pause(tokio::sync::oneshot::Sender<tokio::sync::oneshot::Sender<()>>),
}

/// How to start an appliance.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Which of the suite.
    pub place: usize,
    /// Command-line words after `appliance NAME`. The supervisor adds the ports that the system chose, so that a restart
    /// finds them again.
    pub words: Arc<Mutex<Vec<String>>>,
    /// Its name.
    pub name: &'static str,
    /// The first line on its standard input.
    pub seed: Seed,
}

/// Keeps an appliance running until told to stop.
pub async fn keep(
    recipe: Recipe,
    events: mpsc::UnboundedSender<Event>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut pause = PAUSE_FIRST;
    loop {
        let started = Instant::now();
        let how = match start(&recipe).await {
            Ok((child, stdin)) => {
                let _ = events.send(Event::Started(recipe.place, child.id().unwrap_or_default()));
                match watch(&recipe, child, stdin, &events, &mut orders).await {
                    End::Died(how) => how,
                    End::Stopped => {
                        let _ = events.send(Event::Stopped(recipe.place));
                        return;
                    }
                    End::Again => continue,
                }
            }
            Err(error) => format!("could not be started: {error}"),
        };
        if started.elapsed() > HEALTHY {
            pause = PAUSE_FIRST;
        }
        let _ = events.send(Event::Ended(recipe.place, how, pause));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            order = stop_order(&mut orders) => {
                if order {
                    let _ = events.send(Event::Stopped(recipe.place));
                    return;
                }
            }
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

enum End {
    Died(String),
    Stopped,
    Again,
}

/// True when told to stop. Seeds for a dead child are dropped: it gets the accounts from its own store, and missing ones
/// with the next change.
async fn stop_order(orders: &mut mpsc::UnboundedReceiver<Order>) -> bool {
    loop {
        match orders.recv().await {
            None | Some(Order::Stop) => return true,
            Some(Order::Seed(_)) => {}
            Some(Order::Pause(reply)) => {
                let (done, wait) = tokio::sync::oneshot::channel();
                if reply.send(done).is_ok() {
                    let _ = wait.await;
                }
                return false;
            }
        }
    }
}

async fn start(recipe: &Recipe) -> io::Result<(Child, ChildStdin)> {
    // The file itself, not its name: an update that replaces the program must not mix versions.
    let mut child = Command::new("/proc/self/exe")
        .arg0("nymote")
        .arg("appliance")
        .arg(recipe.name)
        .args(recipe.words.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    send(&mut stdin, &recipe.seed).await?;
    Ok((child, stdin))
}

async fn send(stdin: &mut ChildStdin, seed: &Seed) -> io::Result<()> {
    let mut line = serde_json::to_vec(seed).map_err(io::Error::other)?;
    line.push(b'\n');
    stdin.write_all(&line).await
}

async fn watch(
    recipe: &Recipe,
    mut child: Child,
    stdin: ChildStdin,
    events: &mpsc::UnboundedSender<Event>,
    orders: &mut mpsc::UnboundedReceiver<Order>,
) -> End {
    let place = recipe.place;
    let told = read(child.stdout.take(), events.clone(), move |line| {
        serde_json::from_str(&line).map_or_else(|_| Event::Log(place, line), |told| Event::Told(place, told))
    });
    let logged = read(child.stderr.take(), events.clone(), move |line| Event::Log(place, line));
    let mut stdin = Some(stdin);
    let end = loop {
        tokio::select! {
            status = child.wait() => break End::Died(words(status)),
            order = orders.recv() => match order {
                Some(Order::Seed(seed)) => {
                    if let Some(stdin) = &mut stdin {
                        let _ = send(stdin, &seed).await; // a dead child is noticed by its exit
                    }
                }
                Some(Order::Pause(reply)) => {
                    drop(stdin.take());
                    end(&mut child).await;
                    let (done, wait) = tokio::sync::oneshot::channel();
                    if reply.send(done).is_ok() {
                        let _ = wait.await;
                    }
                    break End::Again;
                }
                Some(Order::Stop) | None => {
                    drop(stdin.take()); // the end of its standard input means "stop"
                    end(&mut child).await;
                    break End::Stopped;
                }
            }
        }
    };
    // What it wrote last says why it ended; a grandchild that holds the pipe must not hold us.
    for reading in [told, logged].into_iter().flatten() {
        let _ = tokio::time::timeout(LAST_WORDS, reading).await;
    }
    end
}

/// Waits for a child that was told to stop, and kills it after a time.
async fn end(child: &mut Child) {
    if tokio::time::timeout(STOP_TIME, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

fn read<R, F>(pipe: Option<R>, events: mpsc::UnboundedSender<Event>, event: F) -> Option<JoinHandle<()>>
where
    R: AsyncRead + Unpin + Send + 'static,
    F: Fn(String) -> Event + Send + 'static,
{
    let mut lines = BufReader::new(pipe?).lines();
    Some(tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if events.send(event(line)).is_err() {
                return;
            }
        }
    }))
}

fn words(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(0), _) => "ended by itself".to_owned(),
            (Some(code), _) => format!("ended with status {code}"),
            (_, Some(signal)) => format!("was killed by signal {signal}"),
            _ => "ended".to_owned(),
        },
        Err(error) => format!("was lost: {error}"),
    }
}

const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Running this long, it counts as healthy again.
const HEALTHY: Duration = Duration::from_secs(60);
/// More than the chassis's own time for connections to finish.
const STOP_TIME: Duration = Duration::from_secs(12);
const LAST_WORDS: Duration = Duration::from_millis(500);
