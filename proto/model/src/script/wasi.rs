//! The functions of WASI preview 1
//! (<https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md>): what a module may import.

/// The module that they are imported from.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// A function. It gives an `i32`, but for [`EXIT`], which gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Its parameters: `i` is an `i32`, `I` an `i64`.
    pub parameters: &'static str,
}

/// The function that ends the program.
pub const EXIT: &str = "proc_exit";

/// All of them.
pub const FUNCTIONS: [Function; 46] = [
    of("args_get", "ii"),
    of("args_sizes_get", "ii"),
    of("clock_res_get", "ii"),
    of("clock_time_get", "iIi"),
    of("environ_get", "ii"),
    of("environ_sizes_get", "ii"),
    of("fd_advise", "iIIi"),
    of("fd_allocate", "iII"),
    of("fd_close", "i"),
    of("fd_datasync", "i"),
    of("fd_fdstat_get", "ii"),
    of("fd_fdstat_set_flags", "ii"),
    of("fd_fdstat_set_rights", "iII"),
    of("fd_filestat_get", "ii"),
    of("fd_filestat_set_size", "iI"),
    of("fd_filestat_set_times", "iIIi"),
    of("fd_pread", "iiiIi"),
    of("fd_prestat_dir_name", "iii"),
    of("fd_prestat_get", "ii"),
    of("fd_pwrite", "iiiIi"),
    of("fd_read", "iiii"),
    of("fd_readdir", "iiiIi"),
    of("fd_renumber", "ii"),
    of("fd_seek", "iIii"),
    of("fd_sync", "i"),
    of("fd_tell", "ii"),
    of("fd_write", "iiii"),
    of("path_create_directory", "iii"),
    of("path_filestat_get", "iiiii"),
    of("path_filestat_set_times", "iiiiIIi"),
    of("path_link", "iiiiiii"),
    of("path_open", "iiiiiIIii"),
    of("path_readlink", "iiiiii"),
    of("path_remove_directory", "iii"),
    of("path_rename", "iiiiii"),
    of("path_symlink", "iiiii"),
    of("path_unlink_file", "iii"),
    of("poll_oneoff", "iiii"),
    of(EXIT, "i"),
    of("proc_raise", "i"),
    of("random_get", "ii"),
    of("sched_yield", ""),
    of("sock_accept", "iii"),
    of("sock_recv", "iiiiii"),
    of("sock_send", "iiiii"),
    of("sock_shutdown", "ii"),
];

const fn of(name: &'static str, parameters: &'static str) -> Function {
    Function { name, parameters }
}
