//! The process as the system sees it, from `/proc`: no `unsafe`, and nothing where there is no such folder.

use std::fs;

/// What is known of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// Processor time, seconds.
    pub(super) cpu: Option<f64>,
    /// Bytes in RAM.
    pub(super) resident: Option<u64>,
    /// Bytes of address space.
    pub(super) virtual_memory: Option<u64>,
    /// Open files.
    pub(super) open_files: Option<u64>,
    /// Files that may be open.
    pub(super) max_files: Option<u64>,
    /// Threads.
    pub(super) threads: Option<u64>,
}

/// Ticks of a second in `/proc/*/stat`: the kernel's interface is fixed at this number, whatever its own clock does.
const TICKS: f64 = 100.0;

/// Looks. Takes a system call for each open file: not on a thread that serves.
pub(super) fn look() -> Process {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let mut process = of_files(&read("stat"), &read("status"), &read("limits"));
    // The folder itself is open while it is read.
    let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count().saturating_sub(1) as u64);
    process.open_files = open.ok();
    process
}

fn of_files(stat: &str, status: &str, limits: &str) -> Process {
    // The name of the program is in brackets and may contain anything, spaces and brackets too.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok());
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let soft_limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    Process {
        // utime and stime are the fields 14 and 15 of the file, the first of which is the process's number.
        cpu: ticks(11).zip(ticks(12)).map(|(user, system)| (user + system) / TICKS),
        resident: field("VmRSS").map(|kibibytes| kibibytes * 1024),
        virtual_memory: field("VmSize").map(|kibibytes| kibibytes * 1024),
        open_files: None,
        max_files: soft_limit.and_then(|line| line.split_whitespace().next()?.parse().ok()),
        threads: field("Threads"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_kernel_are_understood() {
        let stat = "4242 (we) ir (x) S 1 4242 4242 0 -1 4194304 5000 0 3 0 250 125 0 0 20 0 5 0 100 200 300 400";
        let status = "Name:\tweir\nVmPeak:\t  999 kB\nVmSize:\t  200 kB\nVmRSS:\t   40 kB\nThreads:\t5\n";
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n";
        let expected = Process {
            cpu: Some(3.75),
            resident: Some(40 * 1024),
            virtual_memory: Some(200 * 1024),
            open_files: None,
            max_files: Some(1024),
            threads: Some(5),
        };
        assert_eq!(of_files(stat, status, limits), expected);
        assert_eq!(of_files("", "", "Max open files unlimited"), Process::default());
    }

    #[test]
    fn this_process_is_seen() {
        let process = look();
        assert!(process.open_files.is_some_and(|files| files > 2), "{process:?}");
        assert!(process.resident.is_some_and(|bytes| bytes > 100_000), "{process:?}");
    }
}
