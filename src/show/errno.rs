//! The names of error numbers.

use rustix::io::Errno;

/// The name of an errno that reading memory or sending an upcall may end in.
pub fn name(errno: i32) -> Option<&'static str> {
    macro_rules! names {
        ($($name:ident)*) => {
            [
                $((Errno::$name, concat!("E", stringify!($name))),)*
                // These two have other names in Rust.
                (Errno::TOOBIG, "E2BIG"),
                (Errno::ACCESS, "EACCES"),
            ]
        };
    }
    #[rustfmt::skip]
    const NAMES: &[(Errno, &str)] = &names!(
        PERM NOENT SRCH INTR IO NXIO BADF AGAIN NOMEM FAULT BUSY EXIST NODEV INVAL NFILE MFILE FBIG NOSPC PIPE
        DOM RANGE NAMETOOLONG NOSYS LOOP NODATA PROTO OVERFLOW BADMSG MSGSIZE NOPROTOOPT PROTONOSUPPORT OPNOTSUPP
        AFNOSUPPORT ADDRNOTAVAIL NETDOWN NETUNREACH NOBUFS NOTCONN TIMEDOUT CONNREFUSED HOSTUNREACH ALREADY
    );
    let mut names = NAMES.iter();
    names
        .find(|(known, _)| known.raw_os_error() == errno)
        .map(|(_, name)| *name)
}
