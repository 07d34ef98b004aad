//! A DNS server that sends whatever bytes a test makes it send.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context;
use hickory_server::proto::op::Message;

/// How soon a thread notices that it should end.
const TICK: Duration = Duration::from_millis(50);

/// What is sent to this question over UDP: any number of datagrams; over TCP: one stream of bytes.
pub type Lie = dyn Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync;

/// A running liar, ended when dropped.
pub struct Liar {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Liar {
    /// Starts one on a loopback port. `lie` is told the question, and whether it came over TCP,
    /// where the two bytes of the length are put before what it returns.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn start(
        lie: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding TCP")?;
        let address = tcp.local_addr()?;
        let udp = UdpSocket::bind(address).context("binding UDP")?;
        udp.set_read_timeout(Some(TICK))?;
        tcp.set_nonblocking(true)?;
        let ended = Arc::new(AtomicBool::new(false));
        let lie: Arc<Lie> = Arc::new(lie);
        let (until, lies) = (Arc::clone(&ended), Arc::clone(&lie));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !until.load(Ordering::Relaxed) {
                let Ok((length, from)) = udp.recv_from(&mut buffer) else { continue };
                let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
                for datagram in lies(&question, false) {
                    // whoever asked may be gone
                    let _ = udp.send_to(&datagram, from);
                }
            }
        });
        let until = Arc::clone(&ended);
        thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                match tcp.accept() {
                    Ok((mut stream, _)) => {
                        // as above
                        let _ = over_tcp(&mut stream, &*lie);
                    }
                    Err(_) => thread::sleep(TICK),
                }
            }
        });
        Ok(Self { address, ended })
    }

    /// Where it listens, UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn over_tcp(stream: &mut std::net::TcpStream, lie: &Lie) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut question = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut question)?;
    let answer = lie(&Message::from_vec(&question)?, true).concat();
    stream.write_all(&u16::try_from(answer.len())?.to_be_bytes())?;
    stream.write_all(&answer)?;
    Ok(())
}
