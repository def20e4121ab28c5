internal import ParleyCore
internal import ParleyEventStore
internal import ParleyRESP

/// Where a store's events lie; decision 8 has the reasons.
struct EventKeys {
    let prefix: String

    /// A stream with every event, whose entry ids are the positions: `17-0`.
    var all: String { self.prefix + ":all" }
    /// A stream with one small entry for each event of one stream, whose ids are the versions: where the event is.
    func stream(_ name: StreamName) -> String { "\(self.prefix):stream:\(name)" }
    /// A hash: the version of each event id of one stream.
    func ids(_ name: StreamName) -> String { "\(self.prefix):ids:\(name)" }

    /// Reads an entry of ``all``, which anybody may have written: `nil` for what is no event.
    static func event(_ entry: RESPValue) -> RecordedEvent? {
        guard let parts = entry.elements, parts.count == 2, let pairs = parts[1].pairs,
            let position = parts[0].string?.split(separator: "-").first.flatMap({ Int64($0) })
        else { return nil }
        var fields: [String: RESPValue] = [:]
        var metadata: [String: String] = [:]
        for pair in pairs {
            guard let name = pair.key.string else { return nil }
            if name.hasPrefix("m:") {
                guard let value = pair.value.string else { return nil }
                metadata[String(name.dropFirst(2))] = value
            } else {
                fields[name] = pair.value
            }
        }
        guard let stream = fields["stream"]?.string.flatMap({ StreamName($0) }), let id = fields["id"]?.string,
            let version = fields["version"]?.integer, let at = fields["at"]?.integer,
            let type = fields["type"]?.string, let data = fields["data"]?.bytes
        else { return nil }
        return RecordedEvent(
            stream: stream,
            version: version,
            position: GlobalPosition(position),
            recordedAt: Timestamp(microseconds: at),
            id: id,
            type: type,
            data: data,
            metadata: metadata
        )
    }
}
