//! Objects that many reconciles want are read once.
//!
//! Invariant: whoever asks gets an answer to a request that was sent after what they ask for came: who creates a Build and then a run of
//! it never gets an older Build, because the run came later.
//!
//! This is no cache. Three hundred runs of one Build that are created together name the same Build, strategy, account and namespace, and
//! what was read once all of them had come serves all of them.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer lies about: whoever came before it is served by then, or asks again.
const KEPT: Duration = Duration::from_secs(10);

/// What is read: type of the answer, namespace, name.
type Key = (TypeId, String, String);

/// What is being read, and was a moment ago.
#[derive(Clone, Default)]
pub struct Reads {
    all: Arc<Mutex<All>>,
    /// When that came for which this asks; without it, now.
    since: Option<Instant>,
}

/// Reads of all objects that somebody asks for, or asked for a moment ago.
#[derive(Default)]
struct All {
    turns: BTreeMap<Key, Arc<Turns>>,
    /// With how many of them those go that nobody waits for any more: to look at all for each new one would take too long.
    full: usize,
}

/// Reads of one object, one after another.
#[derive(Default)]
struct Turns {
    /// Held by whoever reads: the last answer, and when it was asked for.
    last: tokio::sync::Mutex<Option<(Instant, Arc<dyn Any + Send + Sync>)>>,
}

impl Reads {
    /// For what came at that time, if it is known.
    pub fn since(&self, since: Option<Instant>) -> Self {
        Self { all: Arc::clone(&self.all), since }
    }

    /// What `ask` comes to, or an answer that somebody else got and that is no older. An error is its asker's alone.
    pub async fn share<T, E>(
        &self,
        namespace: &str,
        name: &str,
        ask: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
    {
        let since = self.since.unwrap_or_else(Instant::now);
        let turns = self.turns((TypeId::of::<T>(), namespace.to_owned(), name.to_owned()));
        // A future is as large as all that it may hold, and is moved about.
        turns.take(since, Box::pin(ask)).await
    }

    /// Those of this object; others that nobody waits for any more go.
    fn turns(&self, key: Key) -> Arc<Turns> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.turns.len() >= all.full {
            all.turns.retain(|_, turns| Arc::strong_count(turns) > 1 || turns.may_serve());
            all.full = (2 * all.turns.len()).max(1);
        }
        Arc::clone(all.turns.entry(key).or_default())
    }
}

impl Turns {
    fn may_serve(&self) -> bool {
        let last = self.last.try_lock();
        last.is_ok_and(|last| last.as_ref().is_some_and(|(begun, _)| begun.elapsed() < KEPT))
    }

    async fn take<T, E>(
        &self,
        since: Instant,
        ask: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
    {
        let mut last = self.last.lock().await;
        if let Some((begun, answer)) = &*last
            && *begun > since
            && let Some(answer) = answer.downcast_ref::<T>()
        {
            return Ok(answer.clone());
        }
        let begun = Instant::now();
        let answer = ask.await?;
        *last = Some((begun, Arc::new(answer.clone())));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

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
    }

    #[tokio::test]
    async fn an_answer_serves_whoever_came_before_it_was_asked_for() {
        let reads = Reads::default();
        let asked = AtomicU32::new(0);
        let ask = async |reads: Reads| {
            let count = async { Ok::<_, String>(asked.fetch_add(1, Ordering::SeqCst) + 1) };
            reads.share("team", "app", count).await.unwrap()
        };
        let early = reads.since(Some(Instant::now()));
        assert_eq!(ask(early.clone()).await, 1);
        let late = reads.since(Some(Instant::now()));
        assert_eq!(ask(early.clone()).await, 1);
        assert_eq!(ask(late).await, 2);
        assert_eq!(ask(early).await, 2, "the newest serves as well");
        assert_eq!(ask(reads).await, 3, "who does not say so asks now");
    }

    #[tokio::test]
    async fn nothing_is_kept_of_a_question_that_was_given_up() {
        let reads = Reads::default();
        let never = std::future::pending::<Result<u32, String>>();
        let asked = reads.share("team", "app", never);
        assert!(tokio::time::timeout(Duration::ZERO, asked).await.is_err());
        assert_eq!(reads.share("team", "other", async { Ok::<_, String>(1) }).await, Ok(1));
        let all = reads.all.lock().unwrap();
        assert_eq!(all.turns.keys().map(|(_, _, name)| &**name).collect::<Vec<_>>(), ["other"]);
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
