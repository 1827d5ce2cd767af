//! Which connection is cut off.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use axum::http::Request;
use db_locks_service::{
    access::{Identity, Role, credential},
    domain::Tenant,
};
use futures_util::FutureExt;

use super::{request_memory::REQUEST_BYTES, victims::MUCH, *};

/// A client of HTTP/2 can leave a thousand small answers unread.
#[test]
fn an_answer_over_http2_counts_however_small_it_is() {
    let all = Arc::new(ConnectionMemory::at_most(100_000));
    let connection = Connection::for_test(true);
    assert!(all.count(&connection, STREAM_BYTES + 1).is_some());
}

#[test]
fn the_connection_with_the_most_unread_answers_is_cut_off() {
    let all = Arc::new(ConnectionMemory::at_most(100_000));
    let [small, great] = [(); 2].map(|()| Connection::for_test(true));
    let _registrations = [&small, &great].map(|connection| all.register(connection));
    let is_cut = |connection: &Connection| connection.until_cut_off().now_or_never().is_some();
    let mut unread = vec![all.count(&small, 40_000), all.count(&great, 30_000), all.count(&great, 30_000)];
    assert!(!is_cut(&small) && !is_cut(&great));
    assert!(all.count(&small, COUNTED_FROM - 1).is_none());
    unread.push(all.count(&small, 3_000));
    assert!(is_cut(&great) && !is_cut(&small));
    drop(unread);
    assert_eq!((all.bytes.load(Ordering::Relaxed), great.unread().load(Ordering::Relaxed)), (0, 0));
}

/// The task of a connection that was cut off may take a while to end it.
#[test]
fn each_connection_is_cut_off_once() {
    let all = Arc::new(ConnectionMemory::at_most(100_000));
    let [first, second, third] = [(); 3].map(|()| Connection::for_test(true));
    let is_cut = |connection: &Connection| connection.until_cut_off().now_or_never().is_some();
    let mut registrations = [&first, &second, &third].map(|connection| Some(all.register(connection)));
    let unread = [all.count(&first, 60_000), all.count(&second, 50_000), all.count(&third, 40_000)];
    assert!(is_cut(&first) && !is_cut(&second) && !is_cut(&third), "90 kB are left");
    let more = all.count(&third, 15_000);
    assert!(is_cut(&third) && !is_cut(&second), "105 kB were left");
    registrations[0] = None;
    drop((unread, more));
    registrations[2] = None;
    assert_eq!(all.ending.load(Ordering::Relaxed), 0);
}

/// All connections are looked at for that. A client could otherwise make each of its requests take as long.
#[test]
fn so_many_connections_are_cut_off_at_once_that_there_is_room_again() {
    let all = Arc::new(ConnectionMemory::at_most(100 * COUNTED_FROM));
    let connections: Vec<_> =
        (0..101_u8).map(|host| Connection::for_test_from([192, 0, 2, host].into())).collect();
    let _registrations: Vec<_> = connections.iter().map(|connection| all.register(connection)).collect();
    let mut unread: Vec<_> =
        connections.iter().map(|connection| all.count(connection, COUNTED_FROM)).collect();
    let is_cut = |connection: &&Arc<Connection>| connection.until_cut_off().now_or_never().is_some();
    assert_eq!(connections.iter().filter(is_cut).count(), 101 - 93);
    unread.extend(connections.iter().take(6).map(|connection| all.count(connection, COUNTED_FROM)));
    assert_eq!(connections.iter().filter(is_cut).count(), 0, "93 and 6 are not too many");
}

/// The last turn of a connection may read many requests.
#[test]
fn what_a_connection_counts_after_it_was_cut_off_closes_no_other() {
    let all = Arc::new(ConnectionMemory::at_most(100_000));
    let connections = [(); 2].map(|()| Connection::for_test(true));
    let is_cut = |connection: &Connection| connection.until_cut_off().now_or_never().is_some();
    let mut registrations = connections.each_ref().map(|connection| Some(all.register(connection)));
    let [great, small] = &connections;
    let mut unread = vec![all.count(small, 50_000), all.count(great, 60_000)];
    assert!(is_cut(great));
    unread.push(all.count(great, 60_000));
    assert!(!is_cut(small));
    assert_eq!(all.ending.load(Ordering::Relaxed), 120_000);
    unread.truncate(1);
    registrations[0] = None;
    assert_eq!((all.bytes(), all.ending.load(Ordering::Relaxed)), (50_000, 0));
    unread.push(all.count(small, 45_000));
    assert!(!is_cut(small));
}

/// Guards a caller that reads a long list against a client that leaves many lists unread, each on a connection of its own.
#[test]
fn the_address_with_the_most_unread_answers_loses_a_connection() {
    let all = Arc::new(ConnectionMemory::at_most(100_000));
    let is_cut = |connection: &Connection| connection.until_cut_off().now_or_never().is_some();
    for (flooding, other) in
        [(["192.0.2.1", "192.0.2.1"], "192.0.2.2"), (["2001:db8::1", "2001:db8::2"], "2001:db8:0:100::1")]
    {
        let from = |address: &str| Connection::for_test_from(address.parse().unwrap());
        let (flooding, other) = (flooding.map(from), from(other));
        let _registrations = [&flooding[0], &flooding[1], &other].map(|connection| all.register(connection));
        let _unread =
            [all.count(&other, 45_000), all.count(&flooding[0], 30_000), all.count(&flooding[1], 40_000)];
        assert!(is_cut(&flooding[1]) && !is_cut(&flooding[0]) && !is_cut(&other));
    }
}

/// Anybody with a network of IPv6 has very many addresses.
#[test]
fn clients_without_a_credential_from_many_addresses_close_no_connection_of_others() {
    let all = Arc::new(ConnectionMemory::at_most(100_000));
    let is_cut = |connection: &Connection| connection.until_cut_off().now_or_never().is_some();
    let known = Connection::for_test(true);
    known.set_known();
    let flooding: Vec<_> =
        (0..100_u8).map(|host| Connection::for_test_from([192, 0, 2, host].into())).collect();
    let _registrations: Vec<_> =
        flooding.iter().chain([&known]).map(|connection| all.register(connection)).collect();
    let mut unread: Vec<_> = [40_000, 30_000].map(|bytes| all.count(&known, bytes)).into();
    unread.extend(flooding.iter().map(|connection| all.count(connection, COUNTED_FROM)));
    assert!(!is_cut(&known));
    assert!(flooding.iter().filter(|connection| is_cut(connection)).count() > 80);
}

#[test]
fn a_tenant_with_many_addresses_closes_no_connection_of_others() {
    let bearer = |tenant: &str| Identity {
        credential: credential(tenant),
        who: Arc::from(tenant),
        tenant: Tenant::new(tenant).ok(),
        role: Role::Write,
        keys: None,
        owner: None,
        expires_at: None,
    };
    let all = Arc::new(ConnectionMemory::at_most(100_000));
    let is_cut = |connection: &Connection| connection.until_cut_off().now_or_never().is_some();
    let newcomers = Arc::default();
    let of = |tenant: &str, host| {
        let connection = Connection::for_test_among(&newcomers, [192, 0, 2, host].into());
        connection.set_bearer(&bearer(tenant));
        connection
    };
    let (other, flooding) = (of("b", 200), (0..100).map(|host| of("a", host)).collect::<Vec<_>>());
    let _registrations: Vec<_> =
        flooding.iter().chain([&other]).map(|connection| all.register(connection)).collect();
    let mut unread = vec![all.count(&other, 40_000)];
    unread.extend(flooding.iter().map(|connection| all.count(connection, COUNTED_FROM)));
    assert!(!is_cut(&other));
    assert!(flooding.iter().filter(|connection| is_cut(connection)).count() > 70);
}

#[test]
fn a_connection_with_a_credential_is_cut_off_if_others_have_little() {
    let all = Arc::new(ConnectionMemory::at_most(100_000));
    let is_cut = |connection: &Connection| connection.until_cut_off().now_or_never().is_some();
    // The first one has no credential. The first two have one address.
    let connections = [1, 1, 2].map(|host| Connection::for_test_from([192, 0, 2, host].into()));
    let _registrations = connections.each_ref().map(|connection| all.register(connection));
    for known in &connections[1..] {
        known.set_known();
    }
    let bytes = [100_000 / MUCH - 1, 32_000, 45_000];
    let _unread: Vec<_> =
        connections.iter().zip(bytes).map(|(connection, bytes)| all.count(connection, bytes)).collect();
    assert_eq!(connections.each_ref().map(|connection| is_cut(connection)), [false, false, true]);
}

/// Guards clients with many requests that wait for locks against those that leave answers unread, for which nobody needs a credential.
#[test]
fn a_connection_with_waiting_requests_is_cut_off_only_if_few_answers_are_unread() {
    let is_cut = |connection: &Connection| connection.until_cut_off().now_or_never().is_some();
    for (unread, goes_first) in [(100_000 / MUCH, 0), (100_000 / MUCH - COUNTED_FROM - 1, 1)] {
        let all = Arc::new(ConnectionMemory::at_most(100_000));
        let connections = [(); 2].map(|()| Connection::for_test(true));
        let _registrations = connections.each_ref().map(|connection| all.register(connection));
        let _unread = all.count(&connections[0], unread);
        let mut waits = all.count(&connections[1], 100_000 - unread).unwrap();
        waits.set_waits(true);
        let waiting = || connections[1].waiting().load(Ordering::Relaxed);
        assert_eq!(waiting(), 0, "an invented credential is looked up, perhaps");
        connections[1].set_known();
        waits.set_waits(true);
        assert_eq!(waiting(), 100_000 - unread);
        assert!(!connections.iter().any(|connection| is_cut(connection)));
        let mut more = all.count(&connections[1], COUNTED_FROM);
        assert_eq!(
            connections.each_ref().map(|connection| is_cut(connection)),
            [goes_first == 0, goes_first == 1]
        );
        waits.set_waits(false);
        more.as_mut().unwrap().set_waits(true);
        drop((waits, more));
        assert_eq!(
            [connections[1].unread(), connections[1].waiting()].map(|bytes| bytes.load(Ordering::Relaxed)),
            [0; 2]
        );
    }
}

#[test]
fn a_request_that_waits_keeps_its_path_and_its_credential() {
    let (all, connection) = (Arc::new(ConnectionMemory::at_most(100_000)), Connection::for_test(true));
    connection.set_known();
    let request =
        Request::get("/locks/a/acquire?b").header("authorization", "token").header("x", "y".repeat(9_000));
    let memory = RequestMemory::of(&request.body(()).unwrap(), 30_000, None);
    let mut request = all.count_request(&connection, memory).unwrap();
    assert!(all.bytes() > REQUEST_BYTES + 39_000);
    let kept = REQUEST_BYTES + "/locks/a/acquiretoken".len();
    for (waits, unread) in [(true, 0), (false, kept), (true, 0)] {
        request.set_waits(waits);
        let counted = [connection.unread(), connection.waiting()].map(|bytes| bytes.load(Ordering::Relaxed));
        assert_eq!((all.bytes(), counted), (kept, [unread, kept - unread]));
    }
    drop(request);
    assert_eq!((all.bytes(), connection.waiting().load(Ordering::Relaxed)), (0, 0));
}

/// A client could otherwise fill the memory with few bytes: one long head, and then many requests.
#[test]
fn a_request_that_has_begun_keeps_no_head_of_its_connection() {
    let (all, connection) = (Arc::new(ConnectionMemory::at_most(100_000)), Connection::for_test(true));
    let request = Request::get("/locks/a").header("authorization", "token").header("x", "y".repeat(1_000));
    let memory = RequestMemory::of(&request.body(()).unwrap(), 30_000, None);
    let (arrived, waiting) = (memory.arrived(), memory.waiting());
    let mut request = all.count_request(&connection, memory).unwrap();
    for (is_unanswered, least, most) in [(true, waiting + 1_000, arrived - 30_000), (false, waiting, waiting)]
    {
        request.set_waits(is_unanswered);
        assert!((least..=most).contains(&all.bytes()), "{} of {arrived}", all.bytes());
        assert_eq!(
            connection.unread().load(Ordering::Relaxed),
            all.bytes(),
            "its credential may be invented"
        );
    }
}

/// A heartbeat of a large lock waits for the database with its data.
#[test]
fn a_request_that_waits_keeps_its_body() {
    let (all, connection) = (Arc::new(ConnectionMemory::at_most(100_000)), Connection::for_test(true));
    let _registration = all.register(&connection);
    connection.set_known();
    let (read, request) = (BodyBytes::default(), Request::put("/locks/a").body(()).unwrap());
    let memory = RequestMemory::of(&request, 0, Some(Arc::clone(&read)));
    let without_body = memory.waiting();
    let mut request = all.count_request(&connection, memory).unwrap();
    for bytes in [0, 16_000, 32_000] {
        read.store(bytes, Ordering::Relaxed);
        request.set_waits(true);
        let waiting = connection.waiting().load(Ordering::Relaxed);
        assert_eq!((waiting, all.bytes()), (without_body + bytes, waiting));
    }
    assert!(connection.until_cut_off().now_or_never().is_none());
    read.store(100_000, Ordering::Relaxed);
    request.set_waits(true);
    assert!(connection.until_cut_off().now_or_never().is_some());
    drop(request);
    assert_eq!(all.bytes(), 0);
}
