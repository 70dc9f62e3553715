//! ebpf
fn main(){}
