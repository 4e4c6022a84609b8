//! The end: SIGTERM or SIGINT on Linux (the kernel of our machines raises the same for a shutdown request of its
//! host), a control request, or the end of a supervisor's pipe. All of them resolve `stopping()` everywhere.

use std::sync::Arc;

use tokio::sync::watch;

/// A request to stop that anybody may make and everybody can await.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<Option<&'static str>>>);

impl Default for Stop {
    fn default() -> Stop {
        Stop(Arc::new(watch::Sender::new(None)))
    }
}

impl Stop {
    /// Asks for the end, and says why. The first reason stays.
    pub fn ask(&self, reason: &'static str) {
        self.0.send_if_modified(|asked| asked.is_none() && asked.replace(reason).is_none());
    }

    /// Resolves once somebody has asked; at once if that was before.
    pub async fn asked(&self) -> &'static str {
        let mut watching = self.0.subscribe();
        match watching.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or("asked"),
            Err(_) => "asked", // cannot happen: `self` holds the sender
        }
    }

    /// True once somebody has asked.
    pub fn is_asked(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Turns SIGTERM and SIGINT into a request to stop. Where the platform has no signals, it says so and goes on.
    pub fn on_signals(&self) {
        use tokio::signal::unix::{SignalKind, signal};
        for (kind, reason) in [(SignalKind::terminate(), "SIGTERM"), (SignalKind::interrupt(), "SIGINT")] {
            match signal(kind) {
                Ok(mut signals) => {
                    let stop = self.clone();
                    tokio::spawn(async move {
                        if signals.recv().await.is_some() {
                            stop.ask(reason);
                        }
                    });
                }
                Err(error) => tracing::warn!(%error, reason, "this platform cannot be stopped by signals"),
            }
        }
    }
}
