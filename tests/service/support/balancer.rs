//! A load balancer that leads connections to two replicas in turn.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

/// Leads each connection to the next of these ports, until the test process ends. It uses threads, since a test's
/// runtime ends with the test.
pub(crate) fn lead_in_turns(ports: [u16; 2]) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (from, to) in listener.incoming().zip(ports.into_iter().cycle()) {
            // The client is gone already, or a test has stopped the replica.
            if let (Ok(from), Ok(to)) = (from, TcpStream::connect(("127.0.0.1", to))) {
                drop(lead(&from, &to));
            }
        }
    });
    port
}

/// Passes bytes on in both directions. The end of one side ends only its direction, as in a proxy.
fn lead(client: &TcpStream, replica: &TcpStream) -> io::Result<()> {
    for (from, to) in [(client, replica), (replica, client)] {
        from.set_nodelay(true)?;
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            let passed_on = io::copy(&mut from, &mut to);
            // If the connection breaks, both sides have to notice it.
            let how = if passed_on.is_ok() { Shutdown::Write } else { Shutdown::Both };
            drop(to.shutdown(how));
        });
    }
    Ok(())
}
