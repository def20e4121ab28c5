internal import ParleyRESP

/// What the server does with mirrored hashes in one step each.
///
/// `<prefix>:position` is how far the feed was read, `<prefix>:copy:<id>` what was last written to a saga's hash, and
/// `<prefix>:again` the sagas that are to be written again although the feed has passed them.
enum SagaMirrorScripts {
    /// KEYS: the prefix. ARGV: the position that was gone on from, the next one, and for each saga its id, its hash,
    /// how many milliseconds that is to be there (-1: for ever; 0: no longer), and its fields. Answers whether it was
    /// done: another mirror may have been faster, and what this one has read be old.
    static let write = RESPScript(
        SagaScripts.functions + """
            local p, at = KEYS[1], 2
            if (redis.call('GET', p .. ':position') or '') ~= ARGV[1] then return 0 end
            local function take() at = at + 1 return ARGV[at] end
            while at < #ARGV do
              local id, key, life, fields = take(), take(), tonumber(take()), {}
              for n = 1, tonumber(take()) do fields[n] = take() end
              local copy = p .. ':copy:' .. id
              local last, kind = redis.call('HGETALL', copy), redis.call('TYPE', key).ok
              -- What somebody has edited is not written over until its time is up; what is somebody else's never.
              local isOurs = #last > 0 and (holds(key, last) or (life == 0 and kind == 'hash'))
              if kind == 'none' or isOurs or holds(key, fields) then
                redis.call('DEL', key, copy)
                if life ~= 0 then
                  redis.call('HSET', copy, unpack(fields))
                  redis.call('HSET', key, unpack(fields))
                end
                if life > 0 then
                  redis.call('PEXPIRE', copy, life)
                  redis.call('PEXPIRE', key, life)
                end
                redis.call('SREM', p .. ':again', id)
              elseif life == 0 then
                redis.call('DEL', copy)
                redis.call('SREM', p .. ':again', id)
              else
                redis.call('SADD', p .. ':again', id)
              end
            end
            if ARGV[2] ~= '' then redis.call('SET', p .. ':position', ARGV[2]) end
            return 1
            """
    )

    /// KEYS: the prefix. ARGV: the saga, its hash. Answers the type of what is there, its fields, and those that were
    /// last written.
    static let look = RESPScript(
        """
        local kind, fields = redis.call('TYPE', ARGV[2]).ok, {}
        if kind == 'hash' then
          local count = redis.call('HLEN', ARGV[2])
          if count <= 1000 then fields = redis.call('HGETALL', ARGV[2]) else kind = 'hash of ' .. count .. ' fields' end
        end
        return {kind, fields, redis.call('HGETALL', KEYS[1] .. ':copy:' .. ARGV[1])}
        """
    )

    /// KEYS: the prefix. ARGV: the saga, its hash, and what that is known to hold. Puts back what was last written, and
    /// answers whether it did.
    static let take = RESPScript(
        SagaScripts.functions + """
            local key, fields = ARGV[2], {}
            for n = 3, #ARGV do fields[n - 2] = ARGV[n] end
            local last = redis.call('HGETALL', KEYS[1] .. ':copy:' .. ARGV[1])
            if #last == 0 or not holds(key, fields) then return 0 end
            redis.call('DEL', key)
            redis.call('HSET', key, unpack(last))
            redis.call('SADD', KEYS[1] .. ':again', ARGV[1])
            return 1
            """
    )
}
