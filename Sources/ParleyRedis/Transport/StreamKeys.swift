/// The names of everything that the transport keeps beside one stream.
///
/// They begin with the stream's name, so that in a cluster a name with a hash tag, `{order-events}`, puts all of it on
/// one node, where one script can change it.
package struct StreamKeys: Sendable, Hashable {
    package let stream: String

    package init(stream: String) {
        self.stream = stream
    }

    /// A stream: the dead letters of all groups.
    var deadLetters: String { self.stream + ".dlq" }
    /// A hash: the bindings and limits of each declared group, as JSON.
    var groups: String { self.stream + ":groups" }
    /// A string that expires: taken by whoever does the upkeep next.
    var upkeep: String { self.stream + ":upkeep" }
    /// A string that expires: the consumer that hands out the group's messages.
    func active(_ group: String) -> String { "\(self.stream):\(group):active" }
    /// A sorted set: the group's parked entries, by the millisecond at which they are wanted again.
    package func parked(_ group: String) -> String { "\(self.stream):\(group):parked" }
    /// A hash: of entries that a process holds until their time has come, that time in milliseconds.
    package func waits(_ group: String) -> String { "\(self.stream):\(group):waits" }
    /// A string that expires: written so that `WAIT` has something to wait for.
    var replicated: String { self.stream + ":replicated" }
    /// A string that expires: the entry of the message with this id.
    func published(_ message: String) -> String { "\(self.stream):published:\(message)" }

    /// The consumer that owns parked entries. No process reads for it.
    package static let parking = "parley.parked"
    /// The consumer that owns what was given back until somebody claims it.
    package static let released = "parley.released"
    /// Every process's consumer is named so, and something that no other process has.
    static let consumerPrefix = "parley."
}
