internal import Foundation
internal import ParleyCore
internal import ParleyMessaging
internal import ParleyRESP

/// What Redis does not keep of a consumer group: its bindings and limits, as one field of the hash `<stream>:groups`.
///
/// A stream has no queue for each group, so bindings are applied when an entry is read. What was published under former
/// bindings is judged by those: a group that is declared anew loses nothing and gains nothing.
struct GroupDeclaration: Sendable, Hashable {
    /// Bindings that hold for entries up to a place.
    struct Former: Sendable, Hashable {
        var until: StreamID
        var bindings: [TopicPattern]
    }

    var group: ConsumerGroup
    /// The oldest first.
    var former: [Former] = []
    /// As it is in Redis. The same declaration is always the same text, so that two can be compared there.
    let json: String

    init(_ group: ConsumerGroup, former: [Former] = []) {
        self.group = group
        self.former = former
        let stored = Stored(
            bindings: group.bindings.map(\.description),
            maximumDeliveries: group.maximumDeliveries,
            leaseMilliseconds: group.lease.wholeMilliseconds,
            former: former.isEmpty
                ? nil
                : former.map { .init(until: "\($0.until)", bindings: $0.bindings.map(\.description)) }
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        self.json = (try? encoder.encode(stored)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }

    /// - Throws: ``ParleyMessaging/MessagingError/Code/invalidGroup`` when somebody has written something else there.
    init(_ json: String, of name: String) throws {
        do {
            let stored = try JSONDecoder().decode(Stored.self, from: Data(json.utf8))
            self.group = try ConsumerGroup(
                name,
                bindings: stored.bindings,
                maximumDeliveries: stored.maximumDeliveries,
                lease: .milliseconds(stored.leaseMilliseconds)
            )
            self.former = try (stored.former ?? []).compactMap { former in
                guard let until = StreamID(former.until) else { return nil }
                return Former(until: until, bindings: try former.bindings.map { try TopicPattern($0) })
            }
            self.json = json
        } catch {
            throw MessagingError(
                .invalidGroup,
                "the declaration of the group '\(name)' in Redis cannot be read; declare the group again",
                retry: .permanent,
                cause: error
            )
        }
    }

    private struct Stored: Codable {
        struct Former: Codable {
            var until: String
            var bindings: [String]
        }

        var bindings: [String]
        var maximumDeliveries: Int
        var leaseMilliseconds: Int64
        var former: [Former]?
    }

    /// This group, to be declared as `group` from the place `last` on.
    ///
    /// - Parameter done: No bindings are kept for what lies before: the group has read and acknowledged it.
    func redeclared(_ group: ConsumerGroup, last: StreamID, done: StreamID) -> GroupDeclaration {
        var former = self.former
        if group.bindings != self.group.bindings { former.append(Former(until: last, bindings: self.group.bindings)) }
        return GroupDeclaration(group, former: former.filter { $0.until > done })
    }

    func takes(_ message: StreamMessageCoding.Incoming, at id: StreamID) -> Bool {
        if let only = message.group { return only == self.group.name }
        guard let former = self.former.first(where: { id <= $0.until }) else {
            return self.group.takes(topic: message.message.topic)
        }
        return former.bindings.contains { $0.matches(message.message.topic) }
    }
}
