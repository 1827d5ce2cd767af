mod database;

use std::{net::Ipv4Addr, time::Duration};

use futures_util::FutureExt;
use tokio::{
    task::{JoinHandle, yield_now},
    time::{Instant, sleep},
};

use self::database::{Database, QUERY, token};
use super::{entries::MOST_BYTES, entry::KnownToken, loader::GATHER_FOR, *};
use crate::{access::KeyPatterns, domain::Timestamp, store::FoundToken, unavailable::Unavailable};

/// A time after which no answer counts any more and no token is in use, so that each has to be looked up again.
const LATER: Duration = Duration::from_secs(20);

/// More tokens than a few queries ask for.
const MANY: u128 = 5_000;

fn client(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

fn new_cache(database: &Arc<Database>) -> Arc<TokenCache> {
    Arc::new(TokenCache::start(Arc::clone(database) as Arc<dyn TokenStore>))
}

/// Looks up all of these tokens at once, for one client.
fn look_up_all(cache: &Arc<TokenCache>, hashes: Vec<SecretHash>, client: IpAddr) -> Vec<JoinHandle<Answer>> {
    let look_up = |hash| {
        let cache = Arc::clone(cache);
        tokio::spawn(async move { cache.look_up(hash, Some(client)).await })
    };
    hashes.into_iter().map(look_up).collect()
}

/// A cache that remembers tokens, all of which have to be looked up again.
async fn remembering(database: &Arc<Database>, hashes: &[SecretHash]) -> Arc<TokenCache> {
    let cache = new_cache(database);
    for hashes in hashes.chunks(1_000) {
        for lookup in look_up_all(&cache, hashes.to_vec(), client(1)) {
            assert!(lookup.await.unwrap().unwrap().is_some());
        }
    }
    sleep(LATER).await;
    assert!(matches!(cache.check(&hashes[0]), TokenCheck::LookUp), "old answers do not count");
    cache
}

/// Looks up a valid token behind what waits already: in the query after the one under way.
async fn assert_is_found_soon(cache: Arc<TokenCache>, hash: SecretHash, client: IpAddr) {
    let began = Instant::now();
    assert!(cache.look_up(hash, Some(client)).await.unwrap().is_some());
    assert!(began.elapsed() <= GATHER_FOR + QUERY, "{:?}", began.elapsed());
}

fn invented(number: usize) -> Vec<SecretHash> {
    (0..number).map(|number| SecretHash::of(&number.to_be_bytes())).collect()
}

/// Guards heartbeats against callers that invent tokens, for which no credential is needed: more than can be looked up
/// at a time.
#[tokio::test(start_paused = true)]
async fn a_token_that_was_valid_is_looked_up_before_invented_ones() {
    let database = Arc::new(Database::default());
    let valid = database.add("a", 1);
    let cache = remembering(&database, &valid).await;
    let made_up = look_up_all(&cache, invented(2 * MOST_UNKNOWN), client(2));
    yield_now().await;
    assert_is_found_soon(Arc::clone(&cache), valid[0], client(2)).await;
    let mut refused = 0;
    for lookup in made_up {
        match lookup.await.unwrap() {
            Ok(found) => assert!(found.is_none()),
            Err(error) => {
                assert_eq!(error, Unavailable::Overloaded);
                refused += 1;
            }
        }
    }
    assert_eq!(refused, MOST_UNKNOWN);
}

/// An administrator of a tenant may create thousands of tokens.
#[tokio::test(start_paused = true)]
async fn very_many_valid_tokens_of_a_tenant_delay_no_token_of_another_and_none_is_refused() {
    let database = Arc::new(Database::default());
    let (many, other) = (database.add("many", MANY), database.add("other", 1));
    let cache = remembering(&database, &[&many[..], &other].concat()).await;
    let flood = look_up_all(&cache, many.repeat(8), client(1));
    yield_now().await;
    assert_is_found_soon(Arc::clone(&cache), other[0], client(1)).await;
    for lookup in flood {
        assert!(lookup.await.unwrap().unwrap().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn very_many_valid_tokens_of_a_tenant_delay_no_first_use_of_a_new_token() {
    let database = Arc::new(Database::default());
    let many = database.add("many", MANY);
    let cache = remembering(&database, &many).await;
    let flood = look_up_all(&cache, many, client(1));
    yield_now().await;
    assert_is_found_soon(Arc::clone(&cache), database.add("other", 1)[0], client(1)).await;
    assert!(!flood.iter().all(JoinHandle::is_finished), "the flood was not over yet");
}

#[tokio::test(start_paused = true)]
async fn invented_tokens_of_a_client_neither_delay_nor_refuse_the_first_use_of_a_token_by_another() {
    let database = Arc::new(Database::default());
    let new = database.add("new", 2);
    let cache = new_cache(&database);
    let made_up = look_up_all(&cache, invented(2 * MOST_UNKNOWN), client(1));
    // They run after all others, when the line is full.
    let own = tokio::spawn({
        let (cache, hash) = (Arc::clone(&cache), new[0]);
        async move { cache.look_up(hash, Some(client(1))).await }
    });
    tokio::spawn(assert_is_found_soon(Arc::clone(&cache), new[1], client(2))).await.unwrap();
    assert_eq!(own.await.unwrap(), Err(Unavailable::Overloaded), "the line was full");
    assert!(!made_up.iter().all(JoinHandle::is_finished), "they were not over yet");
}

#[tokio::test(start_paused = true)]
async fn requests_with_the_same_token_share_a_lookup_also_while_it_is_under_way() {
    let database = Arc::new(Database::default());
    let one = database.add("one", 1);
    let cache = new_cache(&database);
    let mut lookups = look_up_all(&cache, one.repeat(100), client(1));
    sleep(QUERY / 2).await;
    lookups.extend(look_up_all(&cache, one.repeat(100), client(2)));
    sleep(QUERY).await;
    for lookup in lookups {
        assert!(lookup.is_finished() && lookup.await.unwrap().unwrap().is_some());
    }
    sleep(GATHER_FOR).await;
    assert_eq!(database.asked(), [one]);
}

/// A connection waits for its turn to be polled, for as long as others flood the service.
#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_read_ends_with_its_token() {
    let database = Arc::new(Database::default());
    let tokens = database.add("one", 2);
    let cache = new_cache(&database);
    let mut lookups = [0, 1].map(|number| Box::pin(cache.look_up(tokens[number], Some(client(1)))));
    for lookup in &mut lookups {
        assert!(lookup.as_mut().now_or_never().is_none());
    }
    sleep(GATHER_FOR + QUERY).await;
    database.revoke(&tokens[0]);
    sleep(LATER).await;
    let [revoked, valid] = lookups;
    assert_eq!(revoked.await, Ok(None));
    assert!(valid.await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_callers_that_gave_up() {
    let database = Arc::new(Database::default());
    let (first, others) = (database.add("first", 1), database.add("others", 2));
    let cache = new_cache(&database);
    let first_lookup = look_up_all(&cache, first.clone(), client(1));
    sleep(QUERY / 2).await;
    let lookups = look_up_all(&cache, others.clone(), client(1));
    yield_now().await;
    lookups[0].abort();
    sleep(2 * GATHER_FOR).await;
    assert!(first_lookup[0].is_finished() && lookups[1].is_finished());
    assert_eq!(database.asked(), [first, vec![others[1]]]);
}

/// A token may have 16 KiB of key patterns. Reading those of thousands of tokens every second would keep a core busy.
#[tokio::test(start_paused = true)]
async fn a_token_in_use_is_read_once_and_ends_within_2_s_of_its_revocation() {
    let database = Arc::new(Database::default());
    let valid = database.add("valid", 1);
    let cache = new_cache(&database);
    assert!(cache.look_up(valid[0], Some(client(1))).await.unwrap().is_some());
    for _ in 0..50 {
        sleep(Duration::from_millis(100)).await;
        assert!(matches!(cache.check(&valid[0]), TokenCheck::Known(_)));
    }
    assert!(database.asked_for_times() > 3, "the answer was renewed");
    sleep(LATER).await;
    assert!(cache.look_up(valid[0], Some(client(1))).await.unwrap().is_some());
    assert_eq!(database.asked(), [&valid[..]]);
    database.revoke(&valid[0]);
    sleep(Duration::from_secs(2)).await;
    assert!(!matches!(cache.check(&valid[0]), TokenCheck::Known(_)));
    assert_eq!(cache.look_up(valid[0], Some(client(1))).await, Ok(None));
}

/// The identities of 10,000 tokens with 16 KiB of key patterns each would take 200 MiB.
#[tokio::test(start_paused = true)]
async fn very_large_tokens_of_a_tenant_have_bounded_memory_and_push_out_none_of_another() {
    let globs = vec!["\u{1d54f}".repeat(64).parse().unwrap(); 64];
    let keys = KeyPatterns::new(globs).unwrap();
    let cache = KnownTokens::default();
    let hash = |tenant: &str, number: u128| SecretHash::of(format!("{tenant} {number}").as_bytes());
    let learn = |tenant, number, keys| {
        let (hash, token) = (hash(tenant, number), token(tenant, number, keys));
        let found = FoundToken { hash, token, now: Timestamp(0) };
        cache.learn(hash, Instant::now(), Some(KnownToken::found(&found, Instant::now())));
    };
    for number in 0..100 {
        learn("small", number, None);
    }
    sleep(Duration::from_secs(1)).await;
    let many = 10_000;
    for number in 0..many {
        sleep(Duration::from_millis(1)).await;
        learn("large", number, Some(keys.clone()));
        cache.check(&hash("large", 0));
        assert!(cache.bytes() <= MOST_BYTES);
    }
    let is_remembered = |tenant, number| cache.remembered(&hash(tenant, number)).is_some();
    assert!((0..100).all(|number| is_remembered("small", number)), "another tenant's tokens stay");
    assert!(is_remembered("large", many - 1) && is_remembered("large", 0), "tokens in use stay");
    assert!((1..many / 2).all(|number| !is_remembered("large", number)), "the others go first");
    cache.due();
    sleep(Duration::from_hours(25)).await;
    cache.due();
    assert_eq!(cache.bytes(), 0);
}
