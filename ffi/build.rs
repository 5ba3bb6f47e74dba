//! Finds libdpdk, generates `sys.rs` with bindgen, and compiles the shim of DPDK's inline functions.
//!
//! The shim has two forms. In a build with `.cargo/lto.toml` it is compiled to bitcode by the clang of rustc's LLVM
//! version, and the linker inlines it into Rust. Else a plain C compiler makes machine code of it: each burst then
//! costs a call.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

/// The libraries whose functions `sys.rs` names. `rte_log` is a library of its own since DPDK 24.03.
const LIBRARIES: [&str; 6] = ["rte_eal", "rte_log", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring"];

/// Set by `.cargo/lto.toml`.
const LINKER_LTO: &str = "TIDEGATE_LINKER_LTO";

/// What Rust only ever holds a pointer to.
const OPAQUE: &str = "
#[repr(C)] pub struct rte_mbuf { _opaque: [u8; 0] }
#[repr(C)] pub struct rte_mempool { _opaque: [u8; 0] }
#[repr(C)] pub struct rte_device { _opaque: [u8; 0] }
#[repr(C)] pub struct rte_bus { _opaque: [u8; 0] }
#[repr(C)] pub struct rte_class { _opaque: [u8; 0] }
#[repr(C)] pub struct FILE { _opaque: [u8; 0] }
";

fn main() {
    for path in ["build.rs", "src/shim.c", "src/shim.h"] {
        println!("cargo:rerun-if-changed={path}");
    }
    for name in ["LIBCLANG_PATH", LINKER_LTO] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let dpdk = find_dpdk();
    generate_bindings(&dpdk);
    compile_shim(&dpdk);
}

/// Ends the build with a sentence; a panic would hide it behind a backtrace.
fn fail(why: &str) -> ! {
    println!("cargo::error={why}");
    exit(1);
}

fn env_or_empty(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Emits the link lines and returns what pkg-config knows.
fn find_dpdk() -> pkg_config::Library {
    let found = pkg_config::Config::new().atleast_version("22.11").cargo_metadata(false).probe("libdpdk");
    let dpdk = found.unwrap_or_else(|why| {
        fail(&format!(
            "libdpdk 22.11 or later is missing; install it (Debian: apt-get install libdpdk-dev): {why}"
        ))
    });
    for path in &dpdk.link_paths {
        println!("cargo:rustc-link-search=native={}", path.display());
    }
    for library in LIBRARIES.iter().filter(|name| dpdk.libs.iter().any(|lib| lib == *name)) {
        println!("cargo:rustc-link-lib=dylib={library}");
    }
    dpdk
}

/// The compiler options that DPDK's headers want: include paths, the CPU they may assume, and `rte_config.h` first.
fn c_flags(dpdk: &pkg_config::Library) -> Vec<String> {
    let mut flags: Vec<String> =
        dpdk.include_paths.iter().map(|path| format!("-I{}", path.display())).collect();
    flags.extend(["-include".to_owned(), "rte_config.h".to_owned()]);
    if env_or_empty("CARGO_CFG_TARGET_ARCH") == "x86_64" {
        // DPDK wants SSE4.2 at least; the shim may use what Rust may use, and must not use more.
        let avx2 = env_or_empty("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "avx2");
        flags.push(if avx2 { "-march=x86-64-v3" } else { "-march=corei7" }.to_owned());
    }
    flags
}

fn generate_bindings(dpdk: &pkg_config::Library) {
    let mut flags = c_flags(dpdk);
    if let Some((library, headers)) = find_libclang() {
        // SAFETY: a build script has one thread, and nothing has read the variable yet.
        unsafe { env::set_var("LIBCLANG_PATH", &library) };
        flags.push(format!("-resource-dir={}", headers.display()));
    }
    let bindings = bindgen::Builder::default()
        .header("src/shim.h")
        .clang_args(flags)
        .use_core()
        .layout_tests(false)
        .generate_comments(false)
        .derive_default(true)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .allowlist_function("tg_shim_.*")
        .allowlist_function("rte_eal_(init|cleanup|has_hugepages)")
        .allowlist_function("rte_(openlog_stream|log_cur_msg_loglevel)")
        .allowlist_function("rte_thread_(register|unregister)|rte_get_tsc_hz")
        .allowlist_function("rte_pktmbuf_pool_create|rte_mempool_(avail_count|free)")
        .allowlist_function("rte_dev_(probe|remove)|rte_eth_iterator_(init|next|cleanup)")
        .allowlist_function("rte_eth_dev_(info_get|configure|adjust_nb_rx_tx_desc|set_mtu|start|stop|close)")
        .allowlist_function("rte_eth_dev_socket_id|rte_eth_(rx|tx)_queue_setup|rte_eth_promiscuous_enable")
        .allowlist_function("rte_eth_(macaddr_get|stats_get)")
        .allowlist_function("fopencookie|setvbuf")
        .allowlist_var("TG_.*|SOCKET_ID_ANY|RTE_MAX_(ETHPORTS|LCORE)|_IOLBF")
        .blocklist_type("rte_mbuf|rte_mempool|rte_device|rte_bus|rte_class|FILE|_IO_FILE")
        .raw_line(OPAQUE)
        .generate();
    let bindings = bindings.unwrap_or_else(|why| {
        fail(&format!("bindgen cannot read DPDK's headers (Debian: apt-get install libclang-22-dev): {why}"))
    });
    let out = PathBuf::from(env_or_empty("OUT_DIR")).join("sys.rs");
    if let Err(why) = bindings.write_to_file(&out) {
        fail(&format!("cannot write {}: {why}", out.display()));
    }
}

/// The newest libclang that has its own resource headers, and these: libclang of one version with headers of another
/// fails on the SSE headers. `None` where LIBCLANG_PATH says it, or where bindgen has to search by itself.
fn find_libclang() -> Option<(PathBuf, PathBuf)> {
    if env::var_os("LIBCLANG_PATH").is_some() {
        return None;
    }
    let mut found: Vec<(u32, PathBuf, PathBuf)> = Vec::new();
    for entry in fs::read_dir("/usr/lib").ok()?.flatten() {
        let name = entry.file_name();
        let version = name.to_str().and_then(|n| n.strip_prefix("llvm-")).and_then(|v| v.parse().ok());
        let library = entry.path().join("lib");
        if let (Some(version), true) = (version, has_libclang(&library))
            && let Some(headers) = resource_dir(&library.join("clang"))
        {
            found.push((version, library, headers));
        }
    }
    found.sort();
    found.pop().map(|(_, library, headers)| (library, headers))
}

fn has_libclang(folder: &Path) -> bool {
    let is_libclang = |name: &str| name.starts_with("libclang.so") || name.starts_with("libclang-");
    fs::read_dir(folder)
        .map(|entries| {
            entries
                .flatten()
                .any(|e| e.file_name().to_str().is_some_and(|n| is_libclang(n) && n.contains(".so")))
        })
        .unwrap_or(false)
}

/// The folder below `lib/clang` that holds the compiler's own headers; it bears the version as 22 or as 14.0.6.
fn resource_dir(folder: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    entries.find(|path| path.join("include/stddef.h").is_file())
}

fn compile_shim(dpdk: &pkg_config::Library) {
    let mut build = cc::Build::new();
    build.file("src/shim.c").opt_level(3).warnings(true).inherit_rustflags(false).flags(c_flags(dpdk));
    let lto = env_or_empty(LINKER_LTO) == "yes";
    match rustc_llvm_major().filter(|_| lto) {
        Some(major) if runs(&format!("clang-{major}")) => {
            build.compiler(format!("clang-{major}")).flag("-flto=thin");
            let archiver = format!("/usr/lib/llvm-{major}/bin/llvm-ar");
            if Path::new(&archiver).is_file() {
                build.archiver(archiver);
            }
        }
        major => {
            // Only who builds for speed wants to know; `cargo test` without the clang is an ordinary thing.
            if env_or_empty("PROFILE") == "release" {
                let why = match major {
                    Some(major) => format!(
                        "clang-{major} is missing (Debian: apt-get install clang-{major} lld-{major})"
                    ),
                    None => "this is no build with .cargo/lto.toml; build with `make`".to_owned(),
                };
                println!("cargo:warning=DPDK's burst functions are not inlined: {why}");
            }
        }
    }
    if let Err(why) = build.try_compile("tg_shim") {
        fail(&format!("the C shim does not compile: {why}"));
    }
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success())
}

/// The LLVM version of rustc, whose bitcode the linker must read together with the shim's.
fn rustc_llvm_major() -> Option<u32> {
    let out = Command::new(env::var_os("RUSTC")?).arg("-vV").output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}
