/// The names of everything that the transport keeps beside one stream.
///
/// They begin with the stream's name, so that in a cluster a name with a hash tag, `{order-events}`, puts all of it on
/// one node, where one script can change it.
struct StreamKeys: Sendable, Hashable {
    let stream: String

    /// The dead letters of all groups.
    var deadLetters: String { self.stream + ".dlq" }
    /// A hash: the bindings and limits of each declared group, as JSON.
    var groups: String { self.stream + ":groups" }
    /// A hash: when each consumer of the group was last known to live.
    func active(_ group: String) -> String { "\(self.stream):\(group):active" }
    /// A sorted set: the entries of the group that wait for a time, by that time in milliseconds.
    func delayed(_ group: String) -> String { "\(self.stream):\(group):delayed" }
}
