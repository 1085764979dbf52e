//! Names of system calls.

/// The name of each of these by its number, which depends on the architecture.
macro_rules! names {
    ($number:expr, $($name:ident => $sys:ident),+ $(,)?) => {
        match $number {
            $(libc::$sys => Some(stringify!($name)),)+
            _ => None,
        }
    };
}

/// The name of the system call with this number, or the number if it is none of those that a daemon may be blocked in;
/// `None` if it is negative.
pub fn name(number: i32) -> Option<String> {
    let number = libc::c_long::from(number);
    if number < 0 {
        return None;
    }
    let name = names!(
        number,
        accept => SYS_accept,
        accept4 => SYS_accept4,
        clock_nanosleep => SYS_clock_nanosleep,
        close => SYS_close,
        connect => SYS_connect,
        dup3 => SYS_dup3,
        epoll_ctl => SYS_epoll_ctl,
        epoll_pwait => SYS_epoll_pwait,
        exit_group => SYS_exit_group,
        fallocate => SYS_fallocate,
        fcntl => SYS_fcntl,
        fdatasync => SYS_fdatasync,
        flock => SYS_flock,
        fstat => SYS_fstat,
        fsync => SYS_fsync,
        ftruncate => SYS_ftruncate,
        futex => SYS_futex,
        getdents64 => SYS_getdents64,
        getrandom => SYS_getrandom,
        getsockopt => SYS_getsockopt,
        io_getevents => SYS_io_getevents,
        io_uring_enter => SYS_io_uring_enter,
        ioctl => SYS_ioctl,
        madvise => SYS_madvise,
        membarrier => SYS_membarrier,
        mmap => SYS_mmap,
        mprotect => SYS_mprotect,
        mremap => SYS_mremap,
        msync => SYS_msync,
        munmap => SYS_munmap,
        nanosleep => SYS_nanosleep,
        newfstatat => SYS_newfstatat,
        openat => SYS_openat,
        ppoll => SYS_ppoll,
        pread64 => SYS_pread64,
        preadv => SYS_preadv,
        pselect6 => SYS_pselect6,
        pwrite64 => SYS_pwrite64,
        pwritev => SYS_pwritev,
        read => SYS_read,
        readv => SYS_readv,
        recvfrom => SYS_recvfrom,
        recvmmsg => SYS_recvmmsg,
        recvmsg => SYS_recvmsg,
        renameat2 => SYS_renameat2,
        sched_yield => SYS_sched_yield,
        sendfile => SYS_sendfile,
        sendmmsg => SYS_sendmmsg,
        sendmsg => SYS_sendmsg,
        sendto => SYS_sendto,
        setsockopt => SYS_setsockopt,
        shutdown => SYS_shutdown,
        socket => SYS_socket,
        splice => SYS_splice,
        statx => SYS_statx,
        sync => SYS_sync,
        syncfs => SYS_syncfs,
        unlinkat => SYS_unlinkat,
        wait4 => SYS_wait4,
        waitid => SYS_waitid,
        write => SYS_write,
        writev => SYS_writev,
    );
    #[cfg(target_arch = "x86_64")]
    let name = name.or(names!(
        number,
        access => SYS_access,
        epoll_wait => SYS_epoll_wait,
        fork => SYS_fork,
        mkdir => SYS_mkdir,
        open => SYS_open,
        pause => SYS_pause,
        poll => SYS_poll,
        rename => SYS_rename,
        rmdir => SYS_rmdir,
        select => SYS_select,
        stat => SYS_stat,
        unlink => SYS_unlink,
        vfork => SYS_vfork,
    ));
    Some(name.map_or_else(|| format!("system call {number}"), str::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a number is that of this architecture, and that one without a name is shown as what it is.
    #[test]
    fn numbers() {
        let name = |number| name(i32::try_from(number).unwrap());
        assert_eq!(name(libc::SYS_flock).as_deref(), Some("flock"));
        assert_eq!(
            name(libc::SYS_getpid).unwrap(),
            format!("system call {}", libc::SYS_getpid)
        );
        assert_eq!(name(-1), None);
    }
}
