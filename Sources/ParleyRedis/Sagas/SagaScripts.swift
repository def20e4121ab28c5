internal import ParleyRESP

/// What the server does with sagas in one step each.
///
/// A saga is one hash, `<prefix>:saga:<id>`, with an index for each question: due ones (`:due`, by time), who drives
/// what (`:owned:<owner>`, `:owners`), all, by status, by type (by age), by business key, and those with an edit. What
/// is optional and not there is no field. `m:<field>` are copies of what was last written to the guide's hash.
enum SagaScripts {
    /// Lua's numbers are exact up to 2^53, which microseconds reach in the year 2255; `%.0f` because `tostring` would
    /// round them to 14 digits.
    static let functions = """
        local function text(number) return string.format('%.0f', number) end

        local function clock()
          local time = redis.call('TIME')
          return tonumber(time[1]) * 1000000 + tonumber(time[2])
        end

        local function map(flat)
          local fields = {}
          for n = 1, #flat, 2 do fields[flat[n]] = flat[n + 1] end
          return fields
        end

        -- Lua takes no more than some thousand arguments in one call.
        local function each(words, unit, call)
          for n = 1, #words, 1000 * unit do call(unpack(words, n, math.min(#words, n + 1000 * unit - 1))) end
        end

        -- What is not there, or is no hash, is no saga: an error here would be in the way of all the others.
        local function load(p, id)
          local key = p .. ':saga:' .. id
          if redis.call('TYPE', key).ok ~= 'hash' then return nil end
          return map(redis.call('HGETALL', key))
        end

        local function isOpen(saga) return saga.status == 'running' or saga.status == 'stuck' end

        local function unindex(p, id, saga)
          redis.call('ZREM', p .. ':due', id)
          if saga.status then redis.call('ZREM', p .. ':status:' .. saga.status, id) end
          if saga.owner then
            redis.call('SREM', p .. ':owned:' .. saga.owner, id)
            if redis.call('EXISTS', p .. ':owned:' .. saga.owner) == 0 then
              redis.call('SREM', p .. ':owners', saga.owner)
            end
          end
        end

        local function index(p, id, saga)
          redis.call('ZADD', p .. ':status:' .. saga.status, tonumber(saga.created_at) and saga.created_at or '0', id)
          if not isOpen(saga) then return end
          if saga.owner then
            redis.call('SADD', p .. ':owned:' .. saga.owner, id)
            redis.call('SADD', p .. ':owners', saga.owner)
          elseif saga.due_at then
            redis.call('ZADD', p .. ':due', saga.due_at, id)
          end
        end

        local function record(p, id, events)
          for _, event in ipairs(events) do redis.call('XADD', p .. ':history:' .. id, '*', unpack(event)) end
        end

        -- The fields that were last written to the saga's hash.
        local function copyOf(saga)
          local copy, count = {}, 0
          for name, value in pairs(saga) do
            if string.sub(name, 1, 2) == 'm:' then
              copy[string.sub(name, 3)] = value
              count = count + 1
            end
          end
          return copy, count
        end

        local function sameCopy(saga, flat)
          local copy, count = copyOf(saga)
          if count * 2 ~= #flat then return false end
          for n = 1, #flat, 2 do if copy[flat[n]] ~= flat[n + 1] then return false end end
          return true
        end

        -- Whether the key holds a hash with exactly these fields, or is not there when there are none.
        local function holds(key, flat)
          if not key then return false end
          local kind = redis.call('TYPE', key).ok
          if kind == 'none' then return #flat == 0 end
          if kind ~= 'hash' or redis.call('HLEN', key) * 2 ~= #flat then return false end
          for n = 1, #flat, 2 do if redis.call('HGET', key, flat[n]) ~= flat[n + 1] then return false end end
          return true
        end

        -- Whether somebody else has changed the hash since it was last written.
        local function edited(saga)
          if not saga.mirror then return false end
          local kind = redis.call('TYPE', saga.mirror).ok
          -- The hash of a saga that has ended may be cleared away.
          if kind == 'none' then return isOpen(saga) end
          local copy, count = copyOf(saga)
          if kind ~= 'hash' or redis.call('HLEN', saga.mirror) ~= count then return true end
          for name, value in pairs(copy) do
            if redis.call('HGET', saga.mirror, name) ~= value then return true end
          end
          return false
        end

        -- Writes a saga, its place in the indexes, and its hash.
        local function save(p, id, fields, mirror, copy, isAnew)
          local key = p .. ':saga:' .. id
          redis.call('DEL', key)
          redis.call('HSET', key, unpack(fields))
          if mirror ~= '' then
            if isAnew then
              redis.call('DEL', mirror)
              if #copy > 0 then redis.call('HSET', mirror, unpack(copy)) end
            end
            if #copy > 0 then redis.call('HSET', key, 'mirror', mirror) end
            for n = 1, #copy, 2 do redis.call('HSET', key, 'm:' .. copy[n], copy[n + 1]) end
          end
          index(p, id, map(fields))
        end

        -- Nobody drives a saga whose hash was edited until a person has decided. What its driver is doing at this
        -- moment may have its effect, so the saga is uncertain.
        local function park(p, id, saga)
          if saga.edited_at or not isOpen(saga) then return end
          local now, key = text(clock()), p .. ':saga:' .. id
          local reason = "the hash '" .. saga.mirror .. "' was edited by hand: accept or reject the edit"
          unindex(p, id, saga)
          local changes = {'edited_at', now, 'before_status', saga.status, 'status', 'stuck', 'reason', reason,
            'updated_at', now, 'version', text((tonumber(saga.version) or 0) + 1),
            'epoch', text((tonumber(saga.epoch) or 0) + 1)}
          local function add(name, value)
            changes[#changes + 1] = name
            changes[#changes + 1] = value
          end
          if saga.updated_at then add('before_updated_at', saga.updated_at) end
          if saga.reason then add('before_reason', saga.reason) end
          if saga.owner then
            add('is_uncertain', '1')
            add('before_due', now)
          elseif saga.due_at then
            add('before_due', saga.due_at)
          end
          redis.call('HSET', key, unpack(changes))
          redis.call('HDEL', key, 'owner', 'due_at', 'token')
          redis.call('ZADD', p .. ':edited', now, id)
          local parked = load(p, id)
          index(p, id, parked)
          record(p, id, {{'version', parked.version, 'at', now, 'kind', 'stuck', 'state', saga.state or '',
            'next_state', saga.state or '', 'attempt', '0', 'detail', reason}})
        end

        -- What cannot be read is in nobody's way, and is seen among the stuck ones.
        local function shelve(p, id, saga)
          unindex(p, id, saga)
          redis.call('HSET', p .. ':saga:' .. id, 'status', 'stuck')
          redis.call('HDEL', p .. ':saga:' .. id, 'owner', 'due_at', 'token')
          saga.status, saga.owner, saga.due_at = 'stuck', nil, nil
          index(p, id, saga)
        end

        -- The lease's key outlives the lease by a minute only: what it would say then, its absence says as well.
        local function renew(p, owner, lease, now)
          local key = p .. ':lease:' .. owner
          if lease <= 0 then return redis.call('DEL', key) end
          redis.call('HSET', key, 'renewed_at', text(now), 'expires_at', text(now + lease))
          redis.call('PEXPIRE', key, text(math.ceil(lease / 1000) + 60000))
        end

        """

    /// KEYS: the prefix. ARGV: the claimer, its lease in microseconds or nothing, how many. Answers when the next one
    /// is due or the next lease ends, and the fields of each saga that was taken.
    static let claim = RESPScript(
        functions + """
            local p, owner, limit = KEYS[1], ARGV[1], tonumber(ARGV[3])
            local now, answer, taken, left = clock(), {''}, {}, tonumber(ARGV[3])
            local function take(id, isTakeOver, holder)
              local saga = load(p, id)
              if not saga then
                redis.call('ZREM', p .. ':due', id)
                if holder then redis.call('SREM', p .. ':owned:' .. holder, id) end
                return
              end
              left = left - 1
              local version, epoch = tonumber(saga.version), tonumber(saga.epoch)
              if not version or not epoch or not isOpen(saga) then return shelve(p, id, saga) end
              if edited(saga) then return park(p, id, saga) end
              unindex(p, id, saga)
              local key = p .. ':saga:' .. id
              redis.call('HSET', key, 'owner', owner, 'version', text(version + 1), 'epoch', text(epoch + 1))
              if isTakeOver then redis.call('HSET', key, 'is_uncertain', '1') end
              redis.call('HDEL', key, 'due_at', 'token')
              local flat = redis.call('HGETALL', key)
              index(p, id, map(flat))
              taken[id] = true
              answer[#answer + 1] = flat
            end

            for _, id in ipairs(redis.call('ZRANGEBYSCORE', p .. ':due', '-inf', text(now), 'LIMIT', 0, limit)) do
              take(id, false)
            end
            local next
            for _, holder in ipairs(redis.call('SMEMBERS', p .. ':owners')) do
              local lease = redis.call('HMGET', p .. ':lease:' .. holder, 'renewed_at', 'expires_at')
              local renewed, expires = tonumber(lease[1]), tonumber(lease[2])
              -- A lease from the future was written before the server's clock jumped back, and says nothing any more.
              if renewed and expires and expires > now and renewed <= now + 1000000 then
                if not next or expires < next then next = expires end
              else
                local held = redis.call('SRANDMEMBER', p .. ':owned:' .. holder, left + 1 + #answer)
                local isMore = false
                for _, id in ipairs(held) do
                  if not taken[id] then
                    if left <= 0 then isMore = true break end
                    take(id, true, holder)
                  end
                end
                if isMore then next = now
                elseif holder ~= owner then redis.call('DEL', p .. ':lease:' .. holder) end
                if redis.call('EXISTS', p .. ':owned:' .. holder) == 0 then
                  redis.call('SREM', p .. ':owners', holder)
                end
              end
            end
            local due = tonumber(redis.call('ZRANGE', p .. ':due', 0, 0, 'WITHSCORES')[2])
            if due and (not next or due < next) then next = due end
            if next then answer[1] = text(next) end
            if ARGV[2] ~= '' and #answer > 1 then renew(p, owner, tonumber(ARGV[2]), now) end
            return answer
            """
    )

    /// KEYS: the prefix. ARGV: the owner, the lease in microseconds.
    static let renew = RESPScript(functions + "renew(KEYS[1], ARGV[1], tonumber(ARGV[2]), clock()) return 1")

    /// KEYS: the prefix. ARGV: the saga.
    static let shelve = RESPScript(
        functions + """
            local saga = load(KEYS[1], ARGV[1])
            if saga then shelve(KEYS[1], ARGV[1], saga) end
            return 1
            """
    )

    private static let looking = """
        -- Adds a saga that was edited, parked from now on, to the answer: its fields, the type of what is there now,
        -- and its fields.
        local function look(p, id, answer)
          local saga = load(p, id)
          if not saga or not (saga.edited_at or edited(saga)) then return end
          park(p, id, saga)
          local kind, fields = 'none', {}
          if saga.mirror then kind = redis.call('TYPE', saga.mirror).ok end
          if kind == 'hash' then
            local count = redis.call('HLEN', saga.mirror)
            if count <= 1000 then
              fields = redis.call('HGETALL', saga.mirror)
            else
              kind = 'hash of ' .. count .. ' fields'
            end
          end
          answer[#answer + 1] = {redis.call('HGETALL', p .. ':saga:' .. id), kind, fields}
        end

        """

    /// One page of the look for edits. KEYS: the prefix. ARGV: where to begin among all sagas, how many. Answers how
    /// many were looked at, and the edits.
    static let edits = RESPScript(
        functions + looking + """
            local ids = redis.call('ZRANGE', KEYS[1] .. ':all', ARGV[1], ARGV[1] + ARGV[2] - 1)
            local answer = {#ids}
            for _, id in ipairs(ids) do look(KEYS[1], id, answer) end
            return answer
            """
    )

    /// The same for one saga. KEYS: the prefix. ARGV: the saga.
    static let edit = RESPScript(
        functions + looking + """
            local answer = {1}
            look(KEYS[1], ARGV[1], answer)
            return answer
            """
    )
}
