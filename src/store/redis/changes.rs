//! Hearing what other nodes changed, and where the primary went.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::broadcast;

use super::super::{Change, Kind};
use super::connect::Connector;
use super::lane::Lane;
use super::layout::key_of;

/// Between attempts to listen again, and between questions to the Sentinels.
const EVERY: Duration = Duration::from_secs(1);

/// Kinds of which every node keeps something in memory.
pub(super) fn is_told(kind: Kind) -> bool {
    matches!(kind, Kind::KeyRing | Kind::Client)
}

/// Passes on what is told on the channel, for ever. Whenever it begins to listen, something may have been missed.
pub(super) async fn listen(connector: Arc<Connector>, channel: String, to: broadcast::Sender<Change>) {
    for attempt in 0.. {
        if let Ok(Ok(mut heard)) = tokio::time::timeout(connector.patience(), connector.listen(attempt)).await
            && heard.subscribe(&channel).await.is_ok()
        {
            // Nobody listening is no failure.
            let _ = to.send(Change::Missed);
            let mut messages = heard.into_on_message();
            while let Some(message) = messages.next().await {
                let key = std::str::from_utf8(message.get_payload_bytes()).ok().and_then(key_of);
                let _ = to.send(key.map_or(Change::Missed, Change::Of));
            }
            // Nobody tells anything now, and the server may be gone: what was read before is not relied on any more.
            let _ = to.send(Change::Missed);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Asks the Sentinels for the primary and lets go of every connection when it is another one: the old one may be alone behind a broken
/// network and still answer reads.
pub(super) async fn follow_primary(connector: Arc<Connector>, lanes: Vec<Arc<Lane>>) {
    let mut known: Option<String> = None;
    loop {
        // Sentinels that do not answer say nothing about the primary.
        if let Ok(Ok(Some(primary))) = tokio::time::timeout(connector.patience(), connector.primary()).await {
            if known.as_ref().is_some_and(|known| *known != primary) {
                tracing::warn!(%primary, "the Sentinels named another primary");
                for lane in &lanes {
                    lane.let_go();
                }
            }
            known = Some(primary);
        }
        tokio::time::sleep(EVERY).await;
    }
}
