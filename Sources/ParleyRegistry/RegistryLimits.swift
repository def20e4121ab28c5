/// How much a registry takes. What goes beyond is refused with a text that names the limit; nothing is dropped.
public struct RegistryLimits: Sendable, Hashable {
    /// Instances of services, over all nodes.
    public var maximumServices = 100_000
    /// Checks, over all nodes.
    public var maximumChecks = 200_000
    /// Nodes: this one and those of `/v1/catalog/register`.
    public var maximumNodes = 10_000
    /// Entries of the key-value store.
    public var maximumKeys = 100_000
    /// The longest value of the key-value store, in bytes: Consul's own limit.
    public var maximumValueBytes = 524_288
    /// All keys and values of the key-value store together, in bytes: they are in memory.
    public var maximumKVBytes = 268_435_456
    /// The longest body of any other request, in bytes.
    public var maximumBodyBytes = 1_048_576
    /// Names, ids, keys, filters, and what a check sends (its URL, its body, all its headers): the longest, in bytes.
    public var maximumTextBytes = 4_096
    /// What one filter may do in one answer: to look at a member, a byte or a place in a pattern is a step each, and a
    /// hundred million take some seconds.
    public var maximumFilterSteps = 50_000_000
    /// Things that differ from the disk while it refuses to write; beyond, changes are refused until it does not.
    public var maximumUnsaved = 100_000
    /// Questions that wait for a change at the same time.
    public var maximumWatchers = 10_000
    /// Open connections; further ones wait in the operating system's queue.
    public var maximumConnections = 12_000
    /// Checks that are made at the same time; the others wait for their turn.
    public var maximumRunningChecks = 128
    /// Of these, checks of one host (the one that is asked): a host that answers nobody delays no others.
    public var maximumRunningChecksPerHost = 32
    /// Checks of one service, besides its maintenance.
    public var maximumChecksPerService = 64
    /// Tags of one service.
    public var maximumTags = 256

    public init() {}
}
