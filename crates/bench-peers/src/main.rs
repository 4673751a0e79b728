//! The servers, as they are measured.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    bench_peers::main()
}
