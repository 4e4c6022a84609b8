//! The program's TCP sockets.

use alloc::rc::Rc;
use core::cell::Cell;
use core::ffi::c_int;
use core::net::IpAddr;

use super::Settings;
use crate::errno::Errno;
use crate::fd::{File, Watchers};
use crate::net::stack::Handle;
use crate::net::{Address, Options, Socket, look, watch, with};

#[derive(Clone, Copy)]
enum State {
    Fresh,
    /// A place that nobody listens at yet is held by a listener without a backlog of its own.
    Bound {
        listener: usize,
        local: (Option<IpAddr>, u16),
    },
    Listening {
        listener: usize,
        local: (Option<IpAddr>, u16),
    },
    Connection {
        id: usize,
        local: Address,
        remote: Address,
    },
}

/// A TCP socket.
pub struct Tcp {
    settings: Settings,
    state: Cell<State>,
    options: Cell<Options>,
    linger: Cell<Option<u32>>,
    connecting: Cell<bool>,
}

impl Tcp {
    /// A fresh socket.
    pub fn new(family: c_int) -> Self {
        Tcp {
            settings: Settings::new(family),
            state: Cell::new(State::Fresh),
            options: Cell::default(),
            linger: Cell::new(None),
            connecting: Cell::new(false),
        }
    }

    fn connection(&self) -> Result<usize, Errno> {
        match self.state.get() {
            State::Connection { id, .. } => Ok(id),
            _ => Err(Errno(libc::ENOTCONN)),
        }
    }

    fn is_connecting(&self) -> bool {
        let made = |id| look(|network| network.tcp_stands(id));
        self.connecting.get() && !self.connection().is_ok_and(made)
    }

    fn watch(&self, handle: Handle) {
        watch(handle, Some(self.settings.watchers.clone()));
    }

    fn hold(&self, local: (Option<IpAddr>, u16)) -> Result<(usize, u16), Errno> {
        let families = self.settings.families(local.0);
        with(|network| network.tcp_listen(local.0, local.1, families, 0, self.options.get()))
    }

    fn apply(&self) {
        let options = self.options.get();
        match self.state.get() {
            State::Connection { id, .. } => with(|network| network.tcp_options(id, options)),
            State::Listening { listener, .. } => {
                with(|network| network.tcp_listener_options(listener, options, None))
            }
            _ => {}
        }
    }
}

impl File for Tcp {
    fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        let id = self.connection()?;
        with(|network| network.tcp_receive(id, into, false))
    }

    fn write(&self, from: &[u8]) -> Result<usize, Errno> {
        let id = self.connection()?;
        with(|network| network.tcp_send(id, from))
    }

    fn ready(&self) -> u32 {
        match self.state.get() {
            State::Connection { id, .. } => look(|network| network.tcp_ready(id)),
            State::Listening { listener, .. } => look(|network| network.tcp_listener_ready(listener)),
            _ => (libc::EPOLLOUT | libc::EPOLLHUP) as u32,
        }
    }

    fn watchers(&self) -> &Watchers {
        &self.settings.watchers
    }

    fn status(&self) -> (u32, u64) {
        (libc::S_IFSOCK | 0o777, 0)
    }

    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }
}

impl Socket for Tcp {
    fn send_to(&self, from: &[u8], _: Option<Address>) -> Result<usize, Errno> {
        self.write(from)
    }

    fn receive_from(&self, into: &mut [u8], peek: bool) -> Result<(usize, Option<Address>, bool), Errno> {
        let id = self.connection()?;
        Ok((with(|network| network.tcp_receive(id, into, peek))?, None, false))
    }

    fn shutdown(&self, how: c_int) -> Result<(), Errno> {
        let id = self.connection()?;
        let (receive, send) = match how {
            libc::SHUT_RD => (true, false),
            libc::SHUT_WR => (false, true),
            libc::SHUT_RDWR => (true, true),
            _ => return Err(Errno(libc::EINVAL)),
        };
        with(|network| network.tcp_shutdown(id, receive, send))
    }

    fn family(&self) -> c_int {
        self.settings.family
    }

    fn bind(&self, address: Address) -> Result<(), Errno> {
        let State::Fresh = self.state.get() else { return Err(Errno(libc::EINVAL)) };
        let place = self.settings.place(address)?;
        let (listener, port) = self.hold(place)?;
        self.state.set(State::Bound { listener, local: (place.0, port) });
        with(|network| network.tcp_mute(listener, true));
        Ok(())
    }

    fn connect(&self, address: Address) -> Result<(), Errno> {
        let (from, port) = match self.state.get() {
            State::Fresh => (None, 0),
            State::Bound { listener, local } => {
                with(|network| network.tcp_unlisten(listener));
                self.state.set(State::Fresh);
                local
            }
            State::Connection { .. } if self.is_connecting() => return Err(Errno(libc::EALREADY)),
            // Who asks again hears once that it went well.
            State::Connection { .. } if self.connecting.replace(false) => return Ok(()),
            State::Connection { .. } | State::Listening { .. } => return Err(Errno(libc::EISCONN)),
        };
        let to = self.settings.destination(address)?;
        let (id, local) = with(|network| network.tcp_connect(from, port, to, self.options.get()))?;
        self.state.set(State::Connection { id, local, remote: to });
        self.connecting.set(true);
        self.watch(Handle::Connection(id));
        Err(Errno(libc::EAGAIN))
    }

    fn connected(&self) -> Result<(), Errno> {
        let id = self.connection()?;
        let result = with(|network| network.tcp_connected(id));
        self.connecting.set(result == Err(Errno(libc::EAGAIN)));
        result
    }

    fn listen(&self, backlog: usize) -> Result<(), Errno> {
        let (listener, local) = match self.state.get() {
            State::Fresh => {
                let (listener, port) = self.hold((None, 0))?;
                (listener, (None, port))
            }
            State::Bound { listener, local } | State::Listening { listener, local } => (listener, local),
            State::Connection { .. } => return Err(Errno(libc::EINVAL)),
        };
        with(|network| {
            network.tcp_mute(listener, false);
            network.tcp_listener_options(listener, self.options.get(), Some(backlog));
        });
        self.state.set(State::Listening { listener, local });
        self.watch(Handle::Listener(listener));
        Ok(())
    }

    fn accept(&self) -> Result<(Rc<dyn File>, Address), Errno> {
        let State::Listening { listener, .. } = self.state.get() else { return Err(Errno(libc::EINVAL)) };
        let (id, local, remote) = with(|network| network.tcp_accept(listener))?;
        let accepted = Tcp::new(self.settings.family);
        accepted.options.set(self.options.get());
        accepted.settings.hop_limit.set(self.settings.hop_limit.get());
        accepted.state.set(State::Connection { id, local, remote });
        accepted.watch(Handle::Connection(id));
        Ok((Rc::new(accepted), self.settings.outward(remote)))
    }

    fn local(&self) -> Option<Address> {
        Some(match self.state.get() {
            State::Fresh => self.settings.unspecified(0),
            State::Bound { local, .. } | State::Listening { local, .. } => match local {
                (Some(ip), port) => self.settings.outward(Address::new(ip, port)),
                (None, port) => self.settings.unspecified(port),
            },
            State::Connection { local, .. } => self.settings.outward(local),
        })
    }

    fn peer(&self) -> Option<Address> {
        match self.state.get() {
            State::Connection { remote, .. } if !self.is_connecting() => Some(self.settings.outward(remote)),
            _ => None,
        }
    }

    fn set_option(&self, level: c_int, name: c_int, value: c_int) -> Result<(), Errno> {
        let mut options = self.options.get();
        match (level, name) {
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => options.nodelay = value != 0,
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => options.keepalive = value != 0,
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => options.keep_idle_s = within(value, KEEP_SECONDS_MAX)?,
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => {
                options.keep_interval_s = within(value, KEEP_SECONDS_MAX)?
            }
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => options.keep_probes = within(value, KEEP_PROBES_MAX)?,
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT | libc::TCP_QUICKACK | libc::TCP_CORK) => {}
            _ => {
                self.settings.set(level, name, value)?;
                options.hop_limit = self.settings.hop_limit.get();
            }
        }
        if options == self.options.get() {
            return Ok(());
        }
        self.options.set(options);
        self.apply();
        Ok(())
    }

    fn option(&self, level: c_int, name: c_int) -> Result<c_int, Errno> {
        let options = self.options.get();
        Ok(match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => match self.connection() {
                Ok(id) => {
                    if self.connecting.get() {
                        match self.connected() {
                            Ok(()) | Err(Errno(libc::EAGAIN)) => 0,
                            Err(Errno(error)) => error,
                        }
                    } else {
                        with(|network| network.tcp_error(id)).map_or(0, |Errno(error)| error)
                    }
                }
                Err(_) => 0,
            },
            (libc::SOL_SOCKET, libc::SO_TYPE) => libc::SOCK_STREAM,
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => libc::IPPROTO_TCP,
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => {
                matches!(self.state.get(), State::Listening { .. }).into()
            }
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => options.keepalive.into(),
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => options.nodelay.into(),
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => options.keep_idle_s as c_int,
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => options.keep_interval_s as c_int,
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => options.keep_probes as c_int,
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => 1460,
            _ => return self.settings.get(level, name),
        })
    }

    fn timeout_ns(&self, send: bool) -> u64 {
        self.settings.timeouts_ns[usize::from(send)].get()
    }

    fn set_timeout_ns(&self, send: bool, timeout_ns: u64) {
        self.settings.timeouts_ns[usize::from(send)].set(timeout_ns);
    }

    fn set_linger(&self, linger: Option<u32>) {
        self.linger.set(linger);
    }

    fn linger(&self) -> Option<u32> {
        self.linger.get()
    }

    fn drained(&self) -> Result<(), Errno> {
        match self.connection() {
            Ok(id) if !with(|network| network.tcp_is_drained(id)) => Err(Errno(libc::EAGAIN)),
            _ => Ok(()),
        }
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        match self.state.get() {
            State::Fresh => {}
            State::Bound { listener, .. } | State::Listening { listener, .. } => {
                watch(Handle::Listener(listener), None);
                with(|network| network.tcp_unlisten(listener));
            }
            State::Connection { id, .. } => {
                watch(Handle::Connection(id), None);
                with(|network| network.tcp_close(id, self.linger.get() == Some(0)));
            }
        }
    }
}

/// Most seconds and probes of TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT, as on Linux.
const KEEP_SECONDS_MAX: u32 = 32_767;
const KEEP_PROBES_MAX: u32 = 127;

/// A number from one to `most`, or EINVAL.
fn within(value: c_int, most: u32) -> Result<u32, Errno> {
    u32::try_from(value).ok().filter(|value| (1..=most).contains(value)).ok_or(Errno(libc::EINVAL))
}
