use super::*;

fn read(text: &str) -> Result<ListenAddress, AddressError> {
    text.parse()
}

#[test]
fn an_address_is_written_in_many_ways() {
    assert_eq!(read("8080"), Ok(ListenAddress::Socket(([127, 0, 0, 1], 8080).into())));
    assert_eq!(read(":8080"), Ok(ListenAddress::Everywhere(8080)));
    assert_eq!(read("0.0.0.0:80"), Ok(ListenAddress::Socket(([0, 0, 0, 0], 80).into())));
    assert_eq!(read(" [::1]:8080 "), Ok(ListenAddress::Socket((Ipv6Addr::LOCALHOST, 8080).into())));
    assert_eq!(read("localhost:8080"), Ok(ListenAddress::Name("localhost".to_owned(), 8080)));
    assert_eq!(read("my-host.example_1:1"), Ok(ListenAddress::Name("my-host.example_1".to_owned(), 1)));
}

#[test]
fn what_is_no_address_is_refused_with_what_is_missing() {
    assert_eq!(read("localhost"), Err(AddressError::NoPort));
    assert_eq!(read(""), Err(AddressError::NoPort));
    assert_eq!(read("[::1]"), Err(AddressError::NoPort));
    for port in ["65536", ":65536", "localhost:http", "localhost:", "127.0.0.1:-1"] {
        assert_eq!(read(port), Err(AddressError::Port), "{port}");
    }
    assert_eq!(read("::1:8080"), Err(AddressError::Brackets));
    for host in ["http://localhost:8080", "a b:80", "[localhost]:80", "*:80"] {
        assert_eq!(read(host), Err(AddressError::Host), "{host}");
    }
}

#[tokio::test]
async fn a_name_and_an_address_that_mean_the_same_are_bound_once() {
    let free = bind(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
    let port = free.0[0].0.port();
    drop(free);
    let addresses = [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("{port}")];
    let addresses = addresses.map(|text| text.parse().unwrap());
    let listeners = bind(&addresses).await.unwrap().listen().unwrap();
    let on_v4 = listeners.iter().filter(|listener| listener.local_addr().unwrap().is_ipv4());
    assert_eq!(on_v4.count(), 1);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = bind(&["0".parse().unwrap()]).await.unwrap().listen().unwrap();
    let address = taken[0].local_addr().unwrap();
    let error = bind(&[ListenAddress::Socket(address)]).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("in use"), "{error}");
}

#[tokio::test]
async fn everywhere_is_reached_through_ipv4() {
    let bound = bind(&[ListenAddress::Everywhere(0)]).await.unwrap();
    let port = bound.0[0].0.port();
    let listeners = bound.listen().unwrap();
    let connect = tokio::net::TcpStream::connect(("127.0.0.1", port));
    let (connected, accepted) = tokio::join!(connect, listeners[0].accept());
    assert!(connected.is_ok() && accepted.is_ok());
}

proptest::proptest! {
    /// Any text is accepted or refused without a panic, and an accepted address is displayed in a form that parses to the same.
    #[test]
    fn every_text_is_read_or_refused(text in "[0-9a-zA-Z:.\\[\\]%_ü\u{0} -]{0,40}") {
        if let Ok(address) = text.parse::<ListenAddress>() {
            let again = address.to_string().parse::<ListenAddress>();
            proptest::prop_assert_eq!(again, Ok(address));
        }
    }
}
