internal import ParleyRESP

/// The script that commits transactions: first it looks, then it writes.
///
/// A script is not rolled back when a command in its middle fails, so everything that can fail is looked at before
/// anything is written: types of keys, versions, what the transaction has read.
enum TransactionScript {
    static let apply = RESPScript(SagaScripts.functions + source)

    private static let source = """
        local at = 0
        local function take() at = at + 1 return ARGV[at] end
        local function list()
          local words = {}
          for n = 1, tonumber(take()) do words[n] = take() end
          return words
        end
        local function lines()
          local found = {}
          for n = 1, tonumber(take()) do found[n] = list() end
          return found
        end

        -- What the steps so far will have made of a key.
        local types = {}

        local steps = {}
        while at < #ARGV do
          local step = {take()}
          local kind = step[1]
          if kind == 'string?' then
            local key, isThere, value = take(), take(), take()
            local now = redis.call('GET', key)
            if (now and '1' or '0') ~= isThere or (now and now ~= value) then return {'conflict', key} end
          elseif kind == 'hash?' then
            local key, fields = take(), list()
            if redis.call('HLEN', key) * 2 ~= #fields then return {'conflict', key} end
            for n = 1, #fields, 2 do
              if redis.call('HGET', key, fields[n]) ~= fields[n + 1] then return {'conflict', key} end
            end
          elseif kind == 'set' then
            step.key, step.value = take(), take()
            types[step.key] = 'string'
          elseif kind == 'delete' then
            step.key = take()
            types[step.key] = 'none'
          elseif kind == 'fields' or kind == 'remove' then
            step.key, step.words = take(), list()
            local found = types[step.key] or redis.call('TYPE', step.key).ok
            if found ~= 'none' and found ~= 'hash' then return {'type', step.key} end
            types[step.key] = 'hash'
          elseif kind == 'saga?' then
            local p, id, version, epoch = take(), take(), take(), take()
            local saga = load(p, id)
            if not saga or saga.version ~= version or saga.epoch ~= epoch then return {'fenced'} end
          elseif kind == 'create' then
            step.p, step.id, step.key, step.json, step.mirror = take(), take(), take(), take(), take()
            step.fields, step.copy, step.events = list(), list(), lines()
            local key, mirror = step.p .. ':saga:' .. step.id, step.mirror
            if types[key] or redis.call('EXISTS', key) == 1 then return {'exists', step.id} end
            if redis.call('EXISTS', step.key) == 1 then return {'conflict', step.key} end
            types[key] = 'hash'
            if mirror ~= '' then
              if types[mirror] or redis.call('EXISTS', mirror) == 1 then return {'taken', mirror} end
              types[mirror] = 'hash'
            end
          elseif kind == 'commit' then
            step.p, step.id, step.token = take(), take(), take()
            local version, epoch, accepted = take(), take(), take()
            local snapshot = list()
            step.fields, step.copy, step.events = list(), list(), lines()
            local saga = load(step.p, step.id)
            if not saga then return {'fenced'} end
            -- The reply to this very step was lost, and all the others were made with it.
            if saga.token == step.token then return {'applied'} end
            if saga.version ~= version or saga.epoch ~= epoch then return {'fenced'} end
            if accepted == '1' then
              if not holds(saga.mirror, snapshot) then return {'fenced'} end
              step.isAnew = true
            elseif edited(saga) then
              park(step.p, step.id, saga)
              return {'edited', saga.mirror}
            end
            step.saga = saga
          else
            return redis.error_reply('ERR parley: unknown step ' .. kind)
          end
          steps[#steps + 1] = step
        end

        for _, step in ipairs(steps) do
          local kind = step[1]
          if kind == 'set' then redis.call('SET', step.key, step.value)
          elseif kind == 'delete' then redis.call('DEL', step.key)
          elseif kind == 'fields' then each(step.words, 2, function(...) redis.call('HSET', step.key, ...) end)
          elseif kind == 'remove' then each(step.words, 1, function(...) redis.call('HDEL', step.key, ...) end)
          elseif kind == 'create' then
            local saga = map(step.fields)
            redis.call('SET', step.key, step.id)
            redis.call('HSETNX', step.p .. ':definitions', saga.definition, step.json)
            redis.call('ZADD', step.p .. ':all', saga.created_at, step.id)
            redis.call('ZADD', step.p .. ':type:' .. saga.type, saga.created_at, step.id)
            redis.call('SADD', step.p .. ':business:' .. saga.business_key, step.id)
            save(step.p, step.id, step.fields, step.mirror, step.copy, true)
            record(step.p, step.id, step.events)
          elseif kind == 'commit' then
            unindex(step.p, step.id, step.saga)
            redis.call('ZREM', step.p .. ':edited', step.id)
            local isAnew = step.isAnew or not sameCopy(step.saga, step.copy)
            save(step.p, step.id, step.fields, step.saga.mirror or '', step.copy, isAnew)
            record(step.p, step.id, step.events)
          end
        end
        return {'applied'}
        """
}
