internal import ParleyRESP

/// What the server does in one step.
///
/// Lua's numbers are exact up to 2^53; they are written with `%.0f`, because `tostring` would round them to 14 digits.
enum EventScripts {
    /// The number in the newest id that a stream ever had, also when that entry was deleted: no position comes twice.
    private static let lastFunction = """
        local function last(key)
          if redis.call('EXISTS', key) == 0 then return 0 end
          local info = redis.call('XINFO', 'STREAM', key)
          for i = 1, #info, 2 do
            if info[i] == 'last-generated-id' then return tonumber(string.match(info[i + 1], '^%d+')) end
          end
        end

        """

    static let last = RESPScript(lastFunction + "return string.format('%.0f', last(KEYS[1]))")

    /// All that can fail (a key of another type) is read before anything is written: a script is not rolled back.
    ///
    /// KEYS: all events, the stream's index, the stream's ids. ARGV: what is expected, the stream, the number of
    /// events; for each its id, type, data, number of metadata entries, and these.
    static let append = RESPScript(
        lastFunction + """
            local expected, stream, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
            local position, current = last(KEYS[1]), last(KEYS[2])
            local known, first, overlap, at = 0, 0, false, 4
            for n = 1, count do
              local version = redis.call('HGET', KEYS[3], ARGV[at])
              if version then
                known = known + 1
                if n == 1 then first = tonumber(version) end
                if tonumber(version) ~= first + n - 1 then overlap = true end
              end
              at = at + 4 + 2 * tonumber(ARGV[at + 3])
            end
            local function text(number) return string.format('%.0f', number) end
            if known > 0 then
              if overlap or known < count then return {'overlap', text(current)} end
              local answer = {'repetition', text(first)}
              local entries = redis.call('XRANGE', KEYS[2], text(first) .. '-0', text(first + count - 1) .. '-0')
              for _, entry in ipairs(entries) do answer[#answer + 1] = entry[2][2] end
              return answer
            end
            local met = expected == 'any' or (expected == 'exists' and current > 0)
              or (expected == 'noStream' and current == 0) or expected == text(current)
            if not met then return {'version', text(current)} end
            local time = redis.call('TIME')
            local now = text(tonumber(time[1]) * 1000000 + tonumber(time[2]))
            local answer = {'appended', text(current + 1)}
            at = 4
            for n = 1, count do
              local place, version = text(position + n), text(current + n)
              local entry = {'stream', stream, 'version', version, 'at', now, 'id', ARGV[at], 'type', ARGV[at + 1],
                'data', ARGV[at + 2]}
              local fields = 2 * tonumber(ARGV[at + 3])
              for i = 1, fields do entry[#entry + 1] = ARGV[at + 3 + i] end
              redis.call('XADD', KEYS[1], place .. '-0', unpack(entry))
              redis.call('XADD', KEYS[2], version .. '-0', 'position', place, 'id', ARGV[at])
              redis.call('HSET', KEYS[3], ARGV[at], version)
              answer[#answer + 1] = place
              at = at + 4 + fields
            end
            return answer
            """
    )

    /// KEYS: all events, the stream's index. ARGV: the first version, how many events, how many bytes.
    static let read = RESPScript(
        """
        local events, bytes = {}, 0
        for _, entry in ipairs(redis.call('XRANGE', KEYS[2], ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])) do
          if bytes >= tonumber(ARGV[3]) then break end
          local place = entry[2][2] .. '-0'
          local event = redis.call('XRANGE', KEYS[1], place, place)[1] or {place, false}
          if event[2] then for _, part in ipairs(event[2]) do bytes = bytes + #part end end
          events[#events + 1] = event
        end
        return events
        """
    )

    /// KEYS: all events. ARGV: the position before the first, how many events, how many bytes. Small portions, so that
    /// a page of long events is not put together whole before it is cut.
    static let readAll = RESPScript(
        """
        local events, bytes, after, wanted = {}, 0, ARGV[1] .. '-0', tonumber(ARGV[2])
        while #events < wanted and bytes < tonumber(ARGV[3]) do
          local count = math.min(50, wanted - #events)
          local entries = redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', count)
          for _, entry in ipairs(entries) do
            if bytes >= tonumber(ARGV[3]) then break end
            for _, part in ipairs(entry[2]) do bytes = bytes + #part end
            events[#events + 1] = entry
            after = entry[1]
          end
          if #entries < count then break end
        end
        return events
        """
    )
}
