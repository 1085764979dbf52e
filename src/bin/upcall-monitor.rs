fn main() {
    println!("{:?}", libbpf_rs::ObjectBuilder::default().open_memory(&[]));
}
