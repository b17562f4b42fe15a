//! WASI preview 1 for a program that has three streams, a clock that stands still, and chance that is none.
//!
//! What is not one of these answers, without anything done, that there is no such file or that it is not supported. So a
//! program whose library looks for files, directories, sockets or time finds none, and goes on or says so.

use signalbox_model::script::wasi::{self, EXIT, FUNCTIONS};
use wasmtime::{Caller, Engine, Extern, FuncType, Linker, Memory, Result, Val, ValType};

use crate::{run::Halt, state::State};

/// Error numbers of WASI preview 1.
mod errno {
    pub(super) const SUCCESS: i32 = 0;
    pub(super) const BADF: i32 = 8;
    pub(super) const FAULT: i32 = 21;
    pub(super) const INVAL: i32 = 28;
    pub(super) const NOTSUP: i32 = 58;
    pub(super) const SPIPE: i32 = 70;
}

/// The standard streams.
const INPUT: i32 = 0;
const OUTPUT: i32 = 1;
const LOG: i32 = 2;
/// Parts that one read or write may have, as POSIX's IOV_MAX.
const PARTS_MAX: u32 = 1024;
/// Random bytes that one call may ask for.
const RANDOM_MAX_BYTES: u32 = 64 * 1024;
/// Clocks: of the day, and since some start.
const CLOCK_REALTIME: i32 = 0;
const CLOCK_MONOTONIC: i32 = 1;
/// What the monotonic clock says: one second, for there are programs that take off from it.
const MONOTONIC_NS: u64 = 1_000_000_000;
/// Rights of a stream: `fd_read`, `fd_write`.
const RIGHT_READ: u64 = 1 << 1;
const RIGHT_WRITE: u64 = 1 << 6;

type Ctx<'a> = Caller<'a, State>;

/// A linker that knows all of WASI preview 1, and nothing else.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    linker.allow_shadowing(true);
    for function in FUNCTIONS.iter().filter(|function| function.name != EXIT) {
        let parameters = function.parameters.bytes().map(|letter| match letter {
            b'I' => ValType::I64,
            _ => ValType::I32,
        });
        let kind = FuncType::new(engine, parameters, [ValType::I32]);
        let answer = absent(function.name);
        linker.func_new(wasi::MODULE, function.name, kind, move |_, _, results| {
            results.fill(Val::I32(answer));
            Ok(())
        })?;
    }
    streams(&mut linker)?;
    environment(&mut linker)?;
    linker.allow_shadowing(false);
    Ok(linker)
}

/// What a function answers that has nothing to act on.
fn absent(name: &str) -> i32 {
    match name {
        "sched_yield" => errno::SUCCESS,
        // The three streams go one way.
        "fd_seek" | "fd_tell" => errno::SPIPE,
        "poll_oneoff" | "proc_raise" => errno::NOTSUP,
        // No descriptor is a file, a directory or a socket.
        _ => errno::BADF,
    }
}

fn streams(linker: &mut Linker<State>) -> Result<()> {
    let module = wasi::MODULE;
    linker.func_wrap(module, "fd_read", fd_read)?;
    linker.func_wrap(module, "fd_write", fd_write)?;
    linker.func_wrap(module, "fd_close", |fd: i32| match fd {
        INPUT | OUTPUT | LOG => errno::SUCCESS,
        _ => errno::BADF,
    })?;
    linker.func_wrap(module, "fd_fdstat_get", fd_fdstat_get)?;
    Ok(())
}

fn environment(linker: &mut Linker<State>) -> Result<()> {
    let module = wasi::MODULE;
    for name in ["args_get", "environ_get"] {
        linker.func_wrap(module, name, |_: i32, _: i32| errno::SUCCESS)?;
    }
    // No arguments and no variables, and so no room for them.
    for name in ["args_sizes_get", "environ_sizes_get"] {
        linker.func_wrap(module, name, |mut ctx: Ctx<'_>, count: i32, size: i32| {
            let mut memory = View::of(&mut ctx);
            answer(
                memory
                    .put(count, &0_u32.to_le_bytes())
                    .and_then(|()| memory.put(size, &0_u32.to_le_bytes())),
            )
        })?;
    }
    linker.func_wrap(
        module,
        "clock_res_get",
        |mut ctx: Ctx<'_>, id: i32, at: i32| match id {
            CLOCK_REALTIME | CLOCK_MONOTONIC => {
                answer(View::of(&mut ctx).put(at, &1_u64.to_le_bytes()))
            }
            _ => errno::INVAL,
        },
    )?;
    linker.func_wrap(
        module,
        "clock_time_get",
        |mut ctx: Ctx<'_>, id: i32, _precision: i64, at: i32| {
            let time_ns = match id {
                CLOCK_REALTIME => ctx.data().time_ns(),
                CLOCK_MONOTONIC => MONOTONIC_NS,
                _ => return errno::INVAL,
            };
            answer(View::of(&mut ctx).put(at, &time_ns.to_le_bytes()))
        },
    )?;
    linker.func_wrap(module, "random_get", random_get)?;
    linker.func_wrap(module, EXIT, |code: i32| -> Result<()> {
        Err(Halt::Exit(code).into())
    })?;
    Ok(())
}

fn fd_read(mut ctx: Ctx<'_>, fd: i32, parts: i32, count: i32, read_at: i32) -> i32 {
    if fd != INPUT {
        return errno::BADF;
    }
    answer(read(&mut View::of(&mut ctx), parts, count, read_at))
}

fn read(memory: &mut View<'_>, parts: i32, count: i32, read_at: i32) -> Result<(), i32> {
    let mut total = 0;
    for (at, len) in memory.parts(parts, count)? {
        let (room, state) = memory.slice_and_state(at, len)?;
        let bytes = state.read(len);
        room[..bytes.len()].copy_from_slice(&bytes);
        total += bytes.len();
        if bytes.len() < len {
            break;
        }
    }
    memory.put_len(read_at, total)
}

fn fd_write(mut ctx: Ctx<'_>, fd: i32, parts: i32, count: i32, written_at: i32) -> Result<i32> {
    if !matches!(fd, OUTPUT | LOG) {
        return Ok(errno::BADF);
    }
    let mut memory = View::of(&mut ctx);
    let parts = match memory.parts(parts, count) {
        Ok(parts) => parts,
        Err(errno) => return Ok(errno),
    };
    let mut total = 0_usize;
    for (at, len) in parts {
        let (bytes, state) = match memory.slice_and_state(at, len) {
            Ok(both) => both,
            Err(errno) => return Ok(errno),
        };
        if fd == LOG {
            state.log(bytes);
        } else if !state.write(bytes) {
            return Err(Halt::OutputFull.into());
        }
        total = total.saturating_add(len);
    }
    Ok(answer(memory.put_len(written_at, total)))
}

/// A stream of which nothing is known but whether it can be read or written.
fn fd_fdstat_get(mut ctx: Ctx<'_>, fd: i32, at: i32) -> i32 {
    let rights = match fd {
        INPUT => RIGHT_READ,
        OUTPUT | LOG => RIGHT_WRITE,
        _ => return errno::BADF,
    };
    let mut stat = [0; 24];
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    answer(View::of(&mut ctx).put(at, &stat))
}

fn random_get(mut ctx: Ctx<'_>, at: i32, len: i32) -> i32 {
    let len = len.cast_unsigned();
    if len > RANDOM_MAX_BYTES {
        return errno::INVAL;
    }
    let mut memory = View::of(&mut ctx);
    let filled = memory
        .slice_and_state(at.cast_unsigned() as usize, len as usize)
        .map(|(bytes, state)| state.fill_random(bytes));
    answer(filled)
}

fn answer(done: Result<(), i32>) -> i32 {
    match done {
        Ok(()) => errno::SUCCESS,
        Err(errno) => errno,
    }
}

/// The program's memory and state. What lies outside of the memory is an error number.
struct View<'a> {
    memory: &'a mut [u8],
    state: &'a mut State,
}

impl<'a> View<'a> {
    fn of(ctx: &'a mut Ctx<'_>) -> Self {
        match ctx.get_export("memory").and_then(Extern::into_memory) {
            Some(memory) => {
                let (memory, state) = Memory::data_and_store_mut(&memory, ctx);
                Self { memory, state }
            }
            // Every script exports one; without, nothing is inside of it.
            None => Self {
                memory: &mut [],
                state: ctx.data_mut(),
            },
        }
    }

    fn slice_and_state(&mut self, at: usize, len: usize) -> Result<(&mut [u8], &mut State), i32> {
        let end = at.checked_add(len).ok_or(errno::FAULT)?;
        let slice = self.memory.get_mut(at..end).ok_or(errno::FAULT)?;
        Ok((slice, self.state))
    }

    fn slice(&mut self, at: usize, len: usize) -> Result<&mut [u8], i32> {
        self.slice_and_state(at, len).map(|(slice, _)| slice)
    }

    fn put(&mut self, at: i32, bytes: &[u8]) -> Result<(), i32> {
        self.slice(at.cast_unsigned() as usize, bytes.len())?
            .copy_from_slice(bytes);
        Ok(())
    }

    fn put_len(&mut self, at: i32, len: usize) -> Result<(), i32> {
        let len = u32::try_from(len).map_err(|_| errno::INVAL)?;
        self.put(at, &len.to_le_bytes())
    }

    /// Where the parts of a read or a write are, and their lengths.
    fn parts(&mut self, at: i32, count: i32) -> Result<Vec<(usize, usize)>, i32> {
        let count = count.cast_unsigned();
        if count > PARTS_MAX {
            return Err(errno::INVAL);
        }
        let list = self.slice(at.cast_unsigned() as usize, count as usize * 8)?;
        let number = |bytes: &[u8]| {
            let mut number = [0; 4];
            number.copy_from_slice(bytes);
            u32::from_le_bytes(number) as usize
        };
        let parts = list.chunks_exact(8);
        Ok(parts
            .map(|part| (number(&part[..4]), number(&part[4..])))
            .collect())
    }
}
