#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{
    pin::Pin,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::sync::{Mutex as Turn, Semaphore};

use super::*;
use crate::{
    access::{KeyPatterns, credential},
    store::{FoundToken, TokenTimes},
};

/// A database with one writer at a time, such as SQLite.
struct Database {
    writer: Turn<()>,
    /// One permit for each change that may be carried out.
    permits: Semaphore,
    /// The beginnings and ends of changes.
    events: Mutex<Vec<String>>,
    /// The tokens that were added and not removed.
    stored: Mutex<Vec<Token>>,
    /// Whether a change is carried out and its answer lost.
    loses_answers: AtomicBool,
}

impl Database {
    fn stored(&self) -> MutexGuard<'_, Vec<Token>> {
        self.stored.lock().unwrap()
    }

    /// The answer to a change, unless it is lost.
    fn answer<T>(&self, value: T) -> Result<T, StoreError> {
        let is_lost = self.loses_answers.load(Ordering::Relaxed);
        if is_lost { Err(StoreError::Unknown("the answer is lost".into())) } else { Ok(value) }
    }

    fn note(&self, event: &str, token: &str) {
        self.events.lock().unwrap().push(format!("{event} {token}"));
    }

    /// The changes that have begun or ended since the last call.
    fn events(&self) -> String {
        std::mem::take(&mut *self.events.lock().unwrap()).join(", ")
    }
}

#[async_trait]
impl TokenStore for Database {
    async fn add_token(&self, token: &Token, _: SecretHash) -> Result<(), StoreError> {
        self.note("begin", &token.name);
        let _writer = self.writer.lock().await;
        self.permits.acquire().await.unwrap().forget();
        self.note("end", &token.name);
        self.stored().push(token.clone());
        self.answer(())
    }

    async fn token_time(&self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp(0))
    }

    async fn count_tokens(&self, _: &Tenant) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn find_tokens(&self, _: &[SecretHash]) -> Result<Vec<FoundToken>, StoreError> {
        unreachable!("nobody asks for tokens")
    }

    async fn token_times(&self, _: &[SecretHash]) -> Result<Vec<TokenTimes>, StoreError> {
        unreachable!("nobody asks for times")
    }

    async fn get_token(&self, id: TokenId) -> Result<Option<Token>, StoreError> {
        Ok(self.stored().iter().find(|token| token.id == id).cloned())
    }

    async fn list_tokens(
        self: Arc<Self>,
        _: Option<Identity>,
        _: Option<TokenId>,
        _: u32,
    ) -> Result<Page<Token, TokenId>, StoreError> {
        unreachable!("nobody lists")
    }

    async fn remove_token(&self, id: TokenId) -> Result<bool, StoreError> {
        let removed = self.stored().extract_if(.., |token| token.id == id).count();
        self.answer(removed > 0)
    }

    async fn note_use(&self, _: &[TokenId]) -> Result<(), StoreError> {
        unreachable!("nobody uses a token")
    }
}

/// Tokens over a database that carries out this number of changes.
fn tokens(changes: usize) -> (Tokens, Arc<Database>) {
    let permits = Semaphore::new(changes);
    let database = Arc::new(Database {
        writer: Turn::default(),
        permits,
        events: Mutex::default(),
        stored: Mutex::default(),
        loses_answers: AtomicBool::new(false),
    });
    (Tokens::new(Arc::clone(&database) as Arc<dyn TokenStore>), database)
}

type Creation = Pin<Box<dyn Future<Output = Result<(Token, Secret), TokenError>>>>;

/// An administrator of a tenant.
fn admin(tenant: &str) -> Identity {
    Identity {
        credential: credential("token:admin"),
        who: Arc::from("token:admin"),
        tenant: Some(Tenant::trusted(tenant)),
        role: Role::Admin,
        keys: None,
        owner: None,
        expires_at: None,
    }
}

/// A request for a token with a name, by an administrator of a tenant. The name is also sent when the token is there.
fn create(tokens: &Tokens, tenant: &str, name: &str, created: &mpsc::Sender<String>) -> Creation {
    let admin = admin(tenant);
    let scope = Scope { tenant: admin.tenant.clone(), role: Role::Write, keys: None };
    let new = NewToken { name: name.to_owned(), scope, expires_at: None };
    let (tokens, created) = (tokens.clone(), created.clone());
    let created = move |token: &Token| created.send(token.name.clone()).unwrap();
    Box::pin(async move { tokens.create(new, Some(&admin), created).await })
}

/// Polls a request as its connection does in its turn, and lets all tasks go on.
async fn poll(creation: &mut Creation) {
    assert!(creation.as_mut().now_or_never().is_none());
    let_tasks_go_on().await;
}

async fn let_tasks_go_on() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// A connection waits for its turn to be polled, for as long as others flood the service.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_polled_keeps_no_other_writer_waiting() {
    let (tokens, database) = tokens(1);
    let (created, _names) = mpsc::channel();
    let batch = database.writer.lock().await;
    let mut unpolled = create(&tokens, "a", "1", &created);
    poll(&mut unpolled).await;
    assert_eq!(database.events(), "begin 1");
    drop(batch);
    let next_batch = timeout(Duration::from_secs(10), database.writer.lock()).await;
    assert!(next_batch.is_ok());
    assert_eq!(database.events(), "end 1");
}

#[tokio::test(start_paused = true)]
async fn one_change_is_made_at_a_time_and_tenants_take_turns() {
    let (tokens, database) = tokens(0);
    let (created, _names) = mpsc::channel();
    let mut creations = Vec::new();
    for (tenant, name) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4")] {
        let mut creation = create(&tokens, tenant, name, &created);
        poll(&mut creation).await;
        creations.push(creation);
    }
    assert_eq!(database.events(), "begin 1");
    database.permits.add_permits(4);
    let_tasks_go_on().await;
    assert_eq!(database.events(), "end 1, begin 2, end 2, begin 4, end 4, begin 3, end 3");
    for creation in creations {
        creation.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn of_too_many_changes_those_of_tenants_with_their_share_are_refused() {
    let (tokens, database) = tokens(0);
    let (created, _names) = mpsc::channel();
    let mut creations = Vec::new();
    for number in 0..=MOST_WAITING {
        let mut creation = create(&tokens, "a", &number.to_string(), &created);
        poll(&mut creation).await;
        creations.push(creation);
    }
    let refused = create(&tokens, "a", "refused", &created).await;
    assert!(matches!(refused, Err(TokenError::Unavailable(Unavailable::Overloaded))));
    let mut other = create(&tokens, "b", "other", &created);
    poll(&mut other).await;
    database.permits.add_permits(3);
    assert_eq!(other.await.unwrap().0.name, "other");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_waits_for_too_long_is_refused() {
    let (tokens, database) = tokens(0);
    let (created, _names) = mpsc::channel();
    poll(&mut create(&tokens, "a", "1", &created)).await;
    let refused = create(&tokens, "b", "2", &created).await;
    assert!(matches!(refused, Err(TokenError::Unavailable(Unavailable::Overloaded))));
    assert_eq!(database.events(), "begin 1");
}

/// Otherwise a token could be there without a record of its creation.
#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_ends_a_change_that_waits_and_none_that_has_begun() {
    let (tokens, database) = tokens(0);
    let (created, names) = mpsc::channel();
    let [mut begun, mut waiting] = ["1", "2"].map(|name| create(&tokens, "a", name, &created));
    poll(&mut begun).await;
    poll(&mut waiting).await;
    drop((begun, waiting));
    database.permits.add_permits(9);
    let_tasks_go_on().await;
    assert_eq!(database.events(), "begin 1, end 1");
    assert_eq!(names.try_iter().collect::<Vec<_>>(), ["1"]);
    create(&tokens, "a", "3", &created).await.unwrap();
}

/// Who repeats a revocation finds no token, so it would never be recorded.
#[tokio::test(start_paused = true)]
async fn a_change_whose_answer_was_lost_is_recorded() {
    let (tokens, database) = tokens(1);
    let (created, names) = mpsc::channel();
    database.loses_answers.store(true, Ordering::Relaxed);
    let (token, _) = create(&tokens, "a", "1", &created).await.unwrap();
    assert_eq!(names.try_iter().collect::<Vec<_>>(), ["1"]);
    let (revoked, ids) = mpsc::channel();
    let revoke = |id| {
        tokens.revoke(id, None, {
            let revoked = revoked.clone();
            move |token| revoked.send(token.id).unwrap()
        })
    };
    revoke(token.id).await.unwrap();
    assert!(matches!(revoke(token.id).await, Err(TokenError::NotFound)));
    assert_eq!(ids.try_iter().collect::<Vec<_>>(), [token.id]);
}

/// To compare patterns can take milliseconds. A connection with a hundred such requests in a turn would keep all others waiting.
#[tokio::test(start_paused = true)]
async fn key_patterns_are_compared_when_it_is_the_turn_of_a_change() {
    let (tokens, database) = tokens(0);
    let (created, _names) = mpsc::channel();
    let mut first = create(&tokens, "a", "1", &created);
    poll(&mut first).await;
    let patterns = |glob: &str| KeyPatterns::new(vec![glob.parse().unwrap()]).ok();
    let admin = Identity { keys: patterns("a*"), ..admin("a") };
    let scope = Scope { tenant: admin.tenant.clone(), role: Role::Write, keys: patterns("b*") };
    let new = NewToken { name: "2".into(), scope, expires_at: None };
    let mut second = Box::pin(tokens.create(new, Some(&admin), |_| ()));
    assert!(second.as_mut().now_or_never().is_none(), "it waits");
    database.permits.add_permits(1);
    assert!(matches!(second.await, Err(TokenError::OutOfScope)));
}
