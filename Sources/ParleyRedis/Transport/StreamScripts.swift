internal import ParleyRESP

/// What must happen in one step on the server.
///
/// `XACK` and `XCLAIM` do not ask whose an entry is: a process that was paused past its lease would take back, or
/// acknowledge, what another one is at work on. So every script first looks whether the entry is still its caller's.
enum StreamScripts {
    private static let isMine = """
        #!lua flags=allow-oom
        local stream, group, me = KEYS[1], ARGV[1], ARGV[2]
        local function owner(id)
            local found = redis.call('XPENDING', stream, group, id, id, 1)
            return found[1] and found[1][2], found[1] and found[1][4]
        end

        """

    private static let now = """
        local function clock()
            local time = redis.call('TIME')
            return time[1] * 1000 + math.floor(time[2] / 1000)
        end

        """

    /// A sign of life. Renews, or takes, the role of the one that hands out (when `ARGV[4]` is 1), and every entry's
    /// lease. `JUSTID` resets the idle time and does not count as a delivery. Without the role it gives everything
    /// back: kept, it would be nobody's, and the one that has the role would go on with what comes behind it.
    ///
    /// KEYS: stream, active, groups. ARGV: group, me, lease in ms, 1 or 0, the consumer of what was given back, idle of
    /// that in ms, then id and count… → {whether it is active, ids that are no longer its own, ids that nobody has or
    /// that are gone from the stream, the group's declaration}
    static let beat = RESPScript(
        isMine + """
            local active = 1
            if ARGV[4] == '1' then
                local holder = redis.call('GET', KEYS[2])
                if not holder or holder == me then
                    redis.call('SET', KEYS[2], me, 'PX', ARGV[3])
                else
                    active = 0
                end
            end
            local lost, gone = {}, {}
            for i = 7, #ARGV, 2 do
                local id, holder = ARGV[i], owner(ARGV[i])
                if not holder then
                    gone[#gone + 1] = id
                elseif holder ~= me then
                    lost[#lost + 1] = id
                elseif active == 0 then
                    redis.call(
                        'XCLAIM', stream, group, ARGV[5], 0, id, 'IDLE', ARGV[6], 'RETRYCOUNT', ARGV[i + 1], 'JUSTID'
                    )
                    lost[#lost + 1] = id
                elseif not redis.call('XCLAIM', stream, group, me, 0, id, 'JUSTID')[1] then
                    gone[#gone + 1] = id
                end
            end
            return {active, lost, gone, redis.call('HGET', KEYS[3], group)}
            """
    )

    /// Takes over what has shown no sign of life, from a cursor on: at most one page of the pending list is looked at.
    /// The count of deliveries stays: it is written when the handler gets the message.
    ///
    /// KEYS: stream, waits, parked, active. ARGV: group, me, minimum idle in ms, cursor ('-' for the beginning), page,
    /// at most how many, 1 to take what is other Parley processes' at once (with the role only), the parking consumer,
    /// the prefix of Parley's consumers, at most how many bytes → {next cursor ('' at the end), {id, count, fields, ms
    /// until it is due or false}…, ids that are gone}
    static let claim = RESPScript(
        isMine + now + """
            if ARGV[7] == '1' and redis.call('GET', KEYS[4]) ~= me then return {'', {}, {}} end
            local start = ARGV[4] == '-' and '-' or '(' .. ARGV[4]
            local page = redis.call('XPENDING', stream, group, start, '+', ARGV[5])
            local taken, gone, cursor, room, bytes = {}, {}, ARGV[4], tonumber(ARGV[6]), tonumber(ARGV[10])
            for _, entry in ipairs(page) do
                local id, consumer, idle, count = entry[1], entry[2], entry[3], entry[4]
                local wanted = consumer ~= me and idle >= tonumber(ARGV[3])
                if consumer == ARGV[8] then
                    wanted = wanted and not redis.call('ZSCORE', KEYS[3], id)
                elseif ARGV[7] == '1' and consumer ~= me and string.sub(consumer, 1, #ARGV[9]) == ARGV[9] then
                    wanted = true
                end
                if wanted then
                    if room == 0 or bytes <= 0 then return {cursor, taken, gone} end
                    local found = redis.call('XRANGE', stream, id, id)
                    if found[1] then
                        redis.call('XCLAIM', stream, group, me, 0, id, 'JUSTID')
                        local due = redis.call('HGET', KEYS[2], id)
                        taken[#taken + 1] = {id, count, found[1][2], due and math.max(0, due - clock())}
                        room = room - 1
                        for _, word in ipairs(found[1][2]) do bytes = bytes - #word end
                    else
                        redis.call('XACK', stream, group, id)
                        redis.call('HDEL', KEYS[2], id)
                        gone[#gone + 1] = id
                    end
                end
                cursor = id
            end
            return {#page < tonumber(ARGV[5]) and '' or cursor, taken, gone}
            """
    )

    /// Takes the parked entries whose time has come.
    ///
    /// KEYS: stream, parked. ARGV: group, me, the parking consumer, at most how many → {{id, count, fields}…, ids that
    /// are gone, milliseconds until the next one or -1}
    static let unpark = RESPScript(
        isMine + now + """
            local taken, gone = {}, {}
            local now = clock()
            for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[4])) do
                redis.call('ZREM', KEYS[2], id)
                local holder, count = owner(id)
                if holder == ARGV[3] then
                    local found = redis.call('XRANGE', stream, id, id)
                    if found[1] then
                        redis.call('XCLAIM', stream, group, me, 0, id, 'JUSTID')
                        taken[#taken + 1] = {id, count, found[1][2]}
                    else
                        redis.call('XACK', stream, group, id)
                        gone[#gone + 1] = id
                    end
                end
            end
            local following = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
            return {taken, gone, following[2] and math.max(0, following[2] - now) or -1}
            """
    )

    /// Counts a delivery before it happens.
    ///
    /// KEYS: stream, waits. ARGV: group, me, id, count → 1; 0 when it is somebody else's, 2 when it is gone
    static let begin = RESPScript(
        isMine + """
            local holder = owner(ARGV[3])
            if not holder then return 2 end
            if holder ~= me then return 0 end
            redis.call('HDEL', KEYS[2], ARGV[3])
            local held = redis.call('XCLAIM', stream, group, me, 0, ARGV[3], 'RETRYCOUNT', ARGV[4], 'JUSTID')
            return held[1] and 1 or 2
            """
    )

    /// KEYS: stream, waits. ARGV: group, me, id → 1; 0 when it is somebody else's, 2 when nobody has it
    static let acknowledge = RESPScript(
        isMine + """
            local holder = owner(ARGV[3])
            if not holder then return 2 end
            if holder ~= me then return 0 end
            redis.call('HDEL', KEYS[2], ARGV[3])
            return redis.call('XACK', stream, group, ARGV[3])
            """
    )

    /// Acknowledges what the group does not take, unless it was declared anew since.
    ///
    /// KEYS: stream, groups. ARGV: group, me, the declaration that was judged by, ids… → 1 or the declaration of now
    static let skip = RESPScript(
        isMine + """
            local declared = redis.call('HGET', KEYS[2], group)
            if declared and declared ~= ARGV[3] then return declared end
            for i = 4, #ARGV do
                if owner(ARGV[i]) == me then redis.call('XACK', stream, group, ARGV[i]) end
            end
            return 1
            """
    )

    /// Keeps an entry with its owner until a time.
    ///
    /// KEYS: stream, waits. ARGV: group, me, id, wait in ms → 1; 0 when it is somebody else's, 2 when nobody has it
    static let hold = RESPScript(
        isMine + now + """
            local holder = owner(ARGV[3])
            if not holder then return 2 end
            if holder ~= me then return 0 end
            redis.call('HSET', KEYS[2], ARGV[3], clock() + ARGV[4])
            return 1
            """
    )

    /// Lays an entry aside until a time, so that it takes nobody's room.
    ///
    /// KEYS: stream, parked, waits. ARGV: group, me, id, wait in ms, the parking consumer → 1; 0 when it is somebody
    /// else's, 2 when nobody has it
    static let park = RESPScript(
        isMine + now + """
            local holder = owner(ARGV[3])
            if not holder then return 2 end
            if holder == ARGV[5] then return 1 end
            if holder ~= me then return 0 end
            redis.call('ZADD', KEYS[2], clock() + ARGV[4], ARGV[3])
            redis.call('HDEL', KEYS[3], ARGV[3])
            redis.call('XCLAIM', stream, group, ARGV[5], 0, ARGV[3], 'JUSTID')
            return 1
            """
    )

    /// Puts an entry among the dead letters.
    ///
    /// KEYS: stream, dead letters, waits. ARGV: group, me, id, fields and values… → 1; 0 when it is somebody else's, 2
    /// when nobody has it
    static let bury = RESPScript(
        isMine + """
            local holder = owner(ARGV[3])
            if not holder then return 2 end
            if holder ~= me then return 0 end
            redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4))
            redis.call('XACK', stream, group, ARGV[3])
            redis.call('HDEL', KEYS[3], ARGV[3])
            return 1
            """
    )

    /// Writes a group's declaration, if the former one is still what was read.
    ///
    /// KEYS: groups. ARGV: group, what was read or '', the new one → 1 or 0
    static let declare = RESPScript(
        """
        if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
        redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
        return 1
        """
    )

    /// Gives entries back: their counts become what was really handed out, and whoever looks next may claim them.
    ///
    /// KEYS: stream. ARGV: group, me, the consumer of what was given back, idle in ms, then id and count… → how many
    static let release = RESPScript(
        isMine + """
            local given = 0
            for i = 5, #ARGV, 2 do
                if owner(ARGV[i]) == me then
                    redis.call(
                        'XCLAIM', stream, group, ARGV[3], 0, ARGV[i],
                        'IDLE', ARGV[4], 'RETRYCOUNT', ARGV[i + 1], 'JUSTID'
                    )
                    given = given + 1
                end
            end
            return given
            """
    )

    /// KEYS: active. ARGV: me
    static let resign = RESPScript(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
    )

    /// Removes consumers that have nothing pending and were not seen for a time. `XGROUP DELCONSUMER` drops what a
    /// consumer has pending, so both are one step.
    ///
    /// KEYS: stream. ARGV: group, me, idle in ms, prefix, the parking consumer → how many
    static let dismiss = RESPScript(
        isMine + """
            local dismissed = 0
            for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
                local consumer = {}
                for i = 1, #info, 2 do consumer[info[i]] = info[i + 1] end
                local name = consumer['name']
                if consumer['pending'] == 0 and consumer['idle'] >= tonumber(ARGV[3]) and name ~= me
                    and name ~= ARGV[5] and string.sub(name, 1, #ARGV[4]) == ARGV[4] then
                    redis.call('XGROUP', 'DELCONSUMER', stream, group, name)
                    dismissed = dismissed + 1
                end
            end
            return dismissed
            """
    )

    /// Trims what every group has done with, and what is older than a time.
    ///
    /// KEYS: stream. ARGV: milliseconds to keep → how many; a call removes 10,000 at most
    static let trim = RESPScript(
        now + """
            -- A sequence may be more than a Lua number holds, so digits are compared as text.
            local function isBefore(one, other)
                local a, b = string.match(one, '^(%d+)-(%d+)$')
                local c, d = string.match(other, '^(%d+)-(%d+)$')
                if a ~= c then return #a < #c or (#a == #c and a < c) end
                return #b < #d or (#b == #d and b < d)
            end
            local floor = string.format('%.0f-0', math.max(0, clock() - ARGV[1]))
            local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
            if #groups == 0 then return 0 end
            for _, info in ipairs(groups) do
                local group = {}
                for i = 1, #info, 2 do group[info[i]] = info[i + 1] end
                local needed = group['last-delivered-id']
                local pending = redis.call('XPENDING', KEYS[1], group['name'])
                if pending[1] > 0 then needed = pending[2] end
                if isBefore(needed, floor) then floor = needed end
            end
            return redis.call('XTRIM', KEYS[1], 'MINID', '~', floor)
            """
    )

    /// Puts a dead letter back for its own group, at the end of the stream.
    ///
    /// KEYS: stream, dead letters. ARGV: id, fields and values… → 1; 0 when it is gone
    static let replay = RESPScript(
        """
        if redis.call('XDEL', KEYS[2], ARGV[1]) == 0 then return 0 end
        redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
        return 1
        """
    )

    /// Adds an entry once for each message id, for servers that cannot by themselves.
    ///
    /// KEYS: stream, published. ARGV: ms to remember it, fields and values… → the entry's id
    static let publishOnce = RESPScript(
        """
        local known = redis.call('GET', KEYS[2])
        if known then return known end
        local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
        redis.call('SET', KEYS[2], id, 'PX', ARGV[1])
        return id
        """
    )
}
