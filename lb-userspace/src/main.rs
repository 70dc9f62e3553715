//! lb
fn main(){}
