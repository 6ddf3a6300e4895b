//! What Redis does in one step. Each script stays within one slot.

use std::sync::LazyLock;

use redis::{Cmd, Script, cmd};

/// A script: its text, and the digest servers know it by.
pub(super) struct Lua {
    text: &'static str,
    script: LazyLock<Script>,
}

/// The compare-and-swap.
///
/// `KEYS`: record, index, expiries, mark. `ARGV`: seen version (empty: none), this write's own version, its expiry (8 bytes, then in decimal,
/// empty for none), now, milliseconds to live (empty: for ever), id, member, channel (empty: nobody waits for it), bytes, and `1` where the
/// word of a replica is waited for.
///
/// Versions are random, so a version names one write. Each record keeps those of the three writes before: a write that finds its own
/// among them was done already, and only its answer was lost. Answers 1 where the write holds, 0 where another was first.
pub(super) static WRITE: Lua = Lua { text: WRITE_TEXT, script: LazyLock::new(|| Script::new(WRITE_TEXT)) };

const WRITE_TEXT: &str = r"
local head = redis.call('GETRANGE', KEYS[1], 0, 39)
local seen, own = ARGV[1], ARGV[2]
local before = string.rep('\0', 24)
if head ~= '' then
  local current = string.sub(head, 1, 8)
  if own == current or own == string.sub(head, 17, 24) or own == string.sub(head, 25, 32) or own == string.sub(head, 33, 40) then
    if ARGV[11] == '1' then redis.call('SET', KEYS[4], '', 'PX', 1000) end
    return 1
  end
  if seen == '' then
    if struct.unpack('>i8', string.sub(head, 9, 16)) > tonumber(ARGV[5]) then return 0 end
  elseif current ~= seen then
    return 0
  end
  before = current .. string.sub(head, 17, 32)
elseif seen ~= '' then
  return 0
end
local value = own .. ARGV[3] .. before .. ARGV[10]
if ARGV[6] == '' then redis.call('SET', KEYS[1], value) else redis.call('SET', KEYS[1], value, 'PX', ARGV[6]) end
redis.call('ZADD', KEYS[2], 0, ARGV[7])
if ARGV[4] == '' then redis.call('ZREM', KEYS[3], ARGV[8]) else redis.call('ZADD', KEYS[3], ARGV[4], ARGV[8]) end
if ARGV[9] ~= '' then redis.call('PUBLISH', ARGV[9], ARGV[8]) end
return 1
";

/// `KEYS`: record, index, expiries, mark. `ARGV`: id, member, channel, and `1` where the word of a replica is waited for.
pub(super) static REMOVE: Lua = Lua { text: REMOVE_TEXT, script: LazyLock::new(|| Script::new(REMOVE_TEXT)) };

const REMOVE_TEXT: &str = r"
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[2])
if ARGV[4] == '1' then redis.call('SET', KEYS[4], '', 'PX', 1000) end
if ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[2]) end
return 1
";

/// `KEYS`: expiries, then record and index of each. `ARGV`: now, then id and member of each. Answers how many had expired.
pub(super) static SWEEP: Lua = Lua { text: SWEEP_TEXT, script: LazyLock::new(|| Script::new(SWEEP_TEXT)) };

const SWEEP_TEXT: &str = r"
local swept, now = 0, tonumber(ARGV[1])
for i = 2, #KEYS, 2 do
  local at = redis.call('ZSCORE', KEYS[1], ARGV[i + 1])
  if at and tonumber(at) <= now then
    redis.call('DEL', KEYS[i])
    redis.call('ZREM', KEYS[i + 1], ARGV[i])
    redis.call('ZREM', KEYS[1], ARGV[i + 1])
    swept = swept + 1
  end
end
return swept
";

/// A script with what it is called with.
pub(super) struct Call {
    pub lua: &'static Lua,
    pub keys: Vec<Vec<u8>>,
    pub args: Vec<Vec<u8>>,
}

impl Call {
    /// By its digest, which a server that knows the script understands.
    pub fn short(&self) -> Cmd {
        self.with("EVALSHA", self.lua.script.get_hash())
    }

    /// With its whole text: the server learns it on the way.
    pub fn whole(&self) -> Cmd {
        self.with("EVAL", self.lua.text)
    }

    fn with(&self, command: &str, script: &str) -> Cmd {
        let mut built = cmd(command);
        built.arg(script).arg(self.keys.len());
        for part in self.keys.iter().chain(&self.args) {
            built.arg(part.as_slice());
        }
        built
    }
}
