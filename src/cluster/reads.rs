//! Objects that many reconciles want at the same moment are read once.
//!
//! Invariant: whoever asks gets an answer to a request that was sent after that: what the API server says now, never what it said before.
//!
//! This is no cache. Three hundred runs of one Build that are created together name the same Build, strategy, account and namespace;
//! who asks while such a read is under way waits for the next one, and shares it with all that wait as well.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is read: type of the answer, namespace, name.
type Key = (TypeId, String, String);

/// What is being read.
#[derive(Clone, Default)]
pub struct Reads(Arc<Mutex<BTreeMap<Key, Arc<Turns>>>>);

/// Reads of one object, one after another.
#[derive(Default)]
struct Turns {
    /// How many were begun.
    begun: AtomicU64,
    /// Held by whoever reads: the last answer, and the number of the read that it came from.
    last: tokio::sync::Mutex<Option<(u64, Arc<dyn Any + Send + Sync>)>>,
}

impl Reads {
    /// What `ask` comes to, or the same question of somebody else that was asked no earlier. An error is its asker's alone.
    pub async fn share<T, E>(
        &self,
        namespace: &str,
        name: &str,
        ask: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
    {
        let key = (TypeId::of::<T>(), namespace.to_owned(), name.to_owned());
        let turns = Arc::clone(self.turns().entry(key.clone()).or_default());
        let asking = Asking { reads: self, key, turns };
        // A future is as large as all that it may hold, and is moved about.
        asking.turns.take(Box::pin(ask)).await
    }

    fn turns(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Turns>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who asks, to the end or until they are dropped.
struct Asking<'a> {
    reads: &'a Reads,
    key: Key,
    turns: Arc<Turns>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut all = self.reads.turns();
        // The map's and this one: nobody else waits for it, and nobody can begin to meanwhile.
        if Arc::strong_count(&self.turns) == 2 {
            all.remove(&self.key);
        }
    }
}

impl Turns {
    async fn take<T, E>(&self, ask: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
    {
        let before = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some((number, answer)) = &*last
            && *number > before
            && let Some(answer) = answer.downcast_ref::<T>()
        {
            return Ok(answer.clone());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = ask.await?;
        *last = Some((number, Arc::new(answer.clone())));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    /// Counts the requests, and answers each with its number once it is let.
    #[derive(Default)]
    struct Server {
        asked: AtomicU32,
        may_answer: Notify,
    }

    impl Server {
        async fn ask(&self) -> Result<u32, String> {
            let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            self.may_answer.notified().await;
            if number == 2 { Err("trouble".into()) } else { Ok(number) }
        }
    }

    /// Polls all of them, in order, until none can go on.
    async fn rest() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_asks_during_a_read_shares_the_next_one() {
        let (reads, server) = (Reads::default(), Arc::new(Server::default()));
        let ask = || {
            let (reads, server) = (reads.clone(), Arc::clone(&server));
            tokio::spawn(async move { reads.share("team", "app", server.ask()).await })
        };
        let first = ask();
        rest().await;
        let during = [ask(), ask(), ask()];
        rest().await;
        assert_eq!(server.asked.load(Ordering::SeqCst), 1);
        for _ in 0..3 {
            server.may_answer.notify_one();
            rest().await;
        }
        assert_eq!(first.await.unwrap(), Ok(1));
        let during: Vec<_> = join_all(during).await.into_iter().map(Result::unwrap).collect();
        // The one whose request failed hears of it; the others ask again, together.
        assert_eq!(during, [Err("trouble".to_owned()), Ok(3), Ok(3)]);
        assert_eq!(server.asked.load(Ordering::SeqCst), 3);
        assert!(reads.turns().is_empty());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_a_question_that_was_given_up() {
        let reads = Reads::default();
        let never = std::future::pending::<Result<u32, String>>();
        let asked = reads.share("team", "app", never);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, asked).await.is_err());
        assert!(reads.turns().is_empty());
    }

    #[tokio::test]
    async fn an_answer_is_not_kept() {
        let reads = Reads::default();
        for expected in [1, 2] {
            let answer = reads.share("team", "app", async { Ok::<_, String>(expected) }).await;
            assert_eq!(answer, Ok(expected));
        }
        let text = reads.share("team", "app", async { Ok::<_, String>("another type") }).await;
        assert_eq!(text, Ok("another type"));
    }
}
