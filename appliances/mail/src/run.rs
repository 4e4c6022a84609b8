//! The life of the appliance.

use crate::imap::{self, Security};
use crate::mailbox::Mailboxes;
use crate::service::{self, Door, Post};
use crate::{commands, gitmount, queue, setup, twins, webmail};
use chassis::{Chassis, Failure, Identity, Service};
use std::sync::Arc;

/// Who this appliance is.
pub static IDENTITY: Identity = Identity {
    name: "mail",
    title: "Mail",
    about: "Mail for your household: SMTP, IMAP and webmail.",
    version: env!("CARGO_PKG_VERSION"),
    services: &[
        Service::known("smtp", 25),
        Service::known("submission", 587),
        Service::known("submissions", 465),
        Service::known("imap", 143),
        Service::known("imaps", 993),
        Service::web(443, 443),
    ],
    store: crate::mailbox::merge_rules,
    labels: &["mail", "imap", "smtp", "autoconfig", "autodiscover", "mta-sts"],
};

/// Listens, says that it is ready, ends when it is told to.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn run(chassis: Chassis) -> Result<(), Failure> {
    let mailboxes = Mailboxes::new(chassis.store().clone(), chassis.domain());
    let post = Arc::new(Post::open(&chassis, mailboxes).await?);
    renew_uids_of_older_data(&post).await?;
    for (name, door) in
        [("smtp", Door::Mx), ("submission", Door::Submission), ("submissions", Door::Submissions)]
    {
        let mut listener = chassis.listen(name).await?;
        let post = post.clone();
        tokio::spawn(async move {
            while let Some(connection) = listener.accept().await {
                tokio::spawn(service::serve(post.clone(), door, connection));
            }
        });
    }
    for (name, security) in [("imap", Security::StartTls), ("imaps", Security::Tls)] {
        let mut listener = chassis.listen(name).await?;
        let post = post.clone();
        tokio::spawn(async move {
            while let Some(connection) = listener.accept().await {
                let context = imap_context(&post);
                tokio::spawn(async move {
                    let peer = connection.peer.ip().to_canonical();
                    imap::serve(connection.stream, peer, security, context).await;
                    drop(connection.place);
                });
            }
        });
    }
    tokio::spawn(post.clone().follow_settings());
    tokio::spawn(twins::start(post.clone()));
    let tracing = tokio::spawn({
        let post = post.clone();
        async move { post.trace.keep(&post.chassis).await }
    });
    let carrier = tokio::spawn(queue::start(post.clone()));
    commands::register(&post);
    chassis.http(webmail::routes(&post).and(setup::routes(&post)).and(gitmount::routes(&post))).await?;
    chassis.ready();
    chassis.stopping().await;
    let _ = tokio::join!(carrier, tracing);
    Ok(())
}

/// Where the data was taken back to an earlier state, clients may have seen UIDs that will be given to other messages: every
/// mailbox gets another UIDVALIDITY.
async fn renew_uids_of_older_data(post: &Post) -> Result<(), Failure> {
    if !post.chassis.is_older() {
        return Ok(());
    }
    for account in post.chassis.accounts().all() {
        let account = post.mailboxes.account(&account.user).await?;
        account.change(|draft| draft.renew_uids()).await?;
    }
    tracing::info!("the data is of an earlier state: every mailbox has another UIDVALIDITY");
    Ok(())
}

fn imap_context(post: &Post) -> imap::Context {
    let settings = post.settings();
    imap::Context {
        accounts: post.chassis.accounts().clone(),
        mailboxes: post.mailboxes.clone(),
        tls: post.chassis.tls().plain(),
        quota_bytes: settings.quota_bytes,
        plaintext_login: settings.plaintext_login,
    }
}
