//! What the benches share: rows of a table, medians, and what Linux says of a
//! process.

#![allow(dead_code, reason = "no bench uses all of it")]

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A row of the table that is printed.
pub fn row(what: &str, reach: &str, value: &str) {
    println!("| {what} | {reach} | {value} |");
}

/// The heads of the table.
pub fn head() {
    println!("| what | to reach | measured |\n| --- | --- | --- |");
}

/// Tells whether a part was asked for; all are if none is named. `cargo bench`
/// adds `--bench`.
pub fn chosen() -> impl Fn(&str) -> bool {
    let names: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    move |name| names.is_empty() || names.iter().any(|n| n == name)
}

/// A number in `/proc/PID/status`, in its unit (kB for memory).
pub fn proc_field(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Resident memory of a process in MB.
pub fn resident(pid: u32) -> f64 {
    proc_field(pid, "VmRSS:") / 1024.0
}

/// CPU time of a process in seconds: user and system, in ticks of 10 ms.
pub fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = stat.rsplit(')').next().unwrap();
    let fields: Vec<f64> = rest
        .split_whitespace()
        .filter_map(|f| f.parse().ok())
        .collect();
    // After the state letter: utime and stime are the 11th and 12th numbers.
    (fields[10] + fields[11]) / 100.0
}
