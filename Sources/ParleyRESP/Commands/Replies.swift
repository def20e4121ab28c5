internal import ParleyCore

/// Reading typed values out of replies, where RESP2 and RESP3 differ, and never trusting their shape.
extension RESPValue {
    /// The command has run: what it did is done, whatever it answered.
    package func unexpected(_ command: String) -> RESPError {
        RESPError(
            .unexpectedReply,
            "\(command): the answer is a \(self.kind), which this version of Parley does not understand",
            retry: .mayHaveRun
        )
    }

    func count(_ command: String) throws(RESPError) -> Int {
        guard let number = self.integer else { throw self.unexpected(command) }
        return Int(clamping: number)
    }

    func list<Element>(
        _ command: String,
        _ read: (RESPValue) -> Element?
    ) throws(RESPError) -> [Element] {
        guard let values = self.elements else {
            if self.isNull { return [] }
            throw self.unexpected(command)
        }
        var elements: [Element] = []
        elements.reserveCapacity(values.count)
        for value in values {
            guard let element = read(value) else { throw value.unexpected(command) }
            elements.append(element)
        }
        return elements
    }

    func streamID(_ command: String) throws(RESPError) -> StreamID {
        guard let id = self.streamIDIfAny else { throw self.unexpected(command) }
        return id
    }

    private var streamIDIfAny: StreamID? {
        // What a server sends; the rest of the cases are for those that stand in for one.
        if case .bulkString(let bytes) = self { return StreamID(utf8: bytes) }
        return self.string.flatMap { StreamID($0) }
    }

    package func streamEntries(_ command: String) throws(RESPError) -> [StreamEntry] {
        try self.list(command) { $0 }.map { value throws(RESPError) in try value.streamEntry(command) }
    }

    /// `[id, [name, value, …]]`; `[id, null]` for a deleted one; a bare id with `JUSTID`.
    func streamEntry(_ command: String) throws(RESPError) -> StreamEntry {
        guard case .array(let parts) = self.bare, parts.count == 2 else {
            guard let id = self.streamIDIfAny else { throw self.unexpected(command) }
            return StreamEntry(id: id, fields: [])
        }
        let id = try parts[0].streamID(command)
        if case .array(let words) = parts[1], words.count.isMultiple(of: 2), !words.isEmpty {
            var fields: [StreamField] = []
            fields.reserveCapacity(words.count / 2)
            for index in stride(from: 0, to: words.count, by: 2) {
                guard let name = words[index].bytes, let value = words[index + 1].bytes else {
                    throw self.unexpected(command)
                }
                fields.append(StreamField(name: name, value: value))
            }
            return StreamEntry(id: id, fields: fields)
        }
        if parts[1].isNull { return StreamEntry(id: id, fields: [], isDeleted: true) }
        guard let pairs = parts[1].pairs else { throw parts[1].unexpected(command) }
        // An entry cannot have been added without a field: empty is how some versions say that it is gone.
        var entry = StreamEntry(id: id, fields: [], isDeleted: pairs.isEmpty)
        entry.fields.reserveCapacity(pairs.count)
        for pair in pairs {
            guard let name = pair.key.bytes, let value = pair.value.bytes else { throw self.unexpected(command) }
            entry.fields.append(StreamField(name: name, value: value))
        }
        return entry
    }

    func streams(_ command: String) throws(RESPError) -> [String: [StreamEntry]] {
        var streams: [String: [StreamEntry]] = [:]
        for (name, entries) in try self.namedStreams(command) {
            streams[name, default: []] += try entries.streamEntries(command)
        }
        return streams
    }

    /// A map in RESP3, an array of pairs in RESP2, null when there is nothing.
    func namedStreams(_ command: String) throws(RESPError) -> [(name: String, entries: RESPValue)] {
        let found: [(RESPValue, RESPValue)]
        if case .map(let pairs) = self.bare {
            found = pairs.map { ($0.key, $0.value) }
        } else {
            found = try self.list(command) { pair in
                guard let parts = pair.elements, parts.count == 2 else { return nil }
                return (parts[0], parts[1])
            }
        }
        return try found.map { name, entries throws(RESPError) in
            guard let name = name.string else { throw self.unexpected(command) }
            return (name, entries)
        }
    }

    func pendingSummary() throws(RESPError) -> PendingSummary {
        guard let parts = self.elements, parts.count == 4, let count = parts[0].integer else {
            throw self.unexpected("XPENDING")
        }
        let consumers = try parts[3].list("XPENDING") { pair -> (String, Int)? in
            guard let words = pair.elements, words.count == 2, let name = words[0].string,
                let count = words[1].integer
            else { return nil }
            return (name, Int(clamping: count))
        }
        return PendingSummary(
            count: Int(clamping: count),
            first: parts[1].string.flatMap { StreamID($0) },
            last: parts[2].string.flatMap { StreamID($0) },
            consumers: Dictionary(consumers) { $0 + $1 }
        )
    }

    var pendingEntry: PendingEntry? {
        guard let parts = self.elements, parts.count == 4, let id = parts[0].string.flatMap({ StreamID($0) }),
            let consumer = parts[1].string, let idle = parts[2].integer, let deliveries = parts[3].integer
        else { return nil }
        return PendingEntry(
            id: id,
            consumer: consumer,
            // Below zero is how XPENDING shows what XNACK has released.
            idle: .milliseconds(max(0, idle)),
            deliveries: Int(clamping: deliveries)
        )
    }
}
