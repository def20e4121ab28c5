/// The difference between what a broker is to have and what it has, as steps in the order in which they are done.
///
/// - Creating and changing comes first: virtual host, user, permission, exchange, queue, binding, policy. Deleting
///   comes last, in the opposite order, so that no message is lost between an old binding and a new one.
/// - Applied, the plan is empty the next time. What was done before is no step any more, so after a crash in the middle
///   the next run goes on.
/// - What the topology does not name is listed in ``unmanaged`` and left alone, unless ``Options/prunes``, and then it
///   is deleted only within virtual hosts that the topology names. Never touched: exchanges and queues named `amq.…`,
///   exclusive queues, queues that have consumers, the queues, bindings and exchanges of consumer groups (as
///   ``RabbitMQTransport`` declares them), the operator's own permissions, users and virtual hosts that are not named.
public struct TopologyPlan: Sendable, Hashable {
    public struct Options: Sendable, Hashable {
        /// Deletes and creates again what cannot be changed: settings of exchanges and queues.
        public var replaces: Bool
        /// Also queues that hold messages, which are lost.
        public var discardsMessages: Bool
        /// Deletes what the topology does not name.
        public var prunes: Bool

        public init(replaces: Bool = false, discardsMessages: Bool = false, prunes: Bool = false) {
            self.replaces = replaces
            self.discardsMessages = discardsMessages
            self.prunes = prunes
        }
    }

    public enum Kind: String, Sendable, Hashable, CaseIterable {
        case virtualHost = "vhost"
        case user, permission, exchange, queue, binding, policy
    }

    /// The name of one thing.
    public struct Resource: Sendable, Hashable, CustomStringConvertible {
        public var kind: Kind
        /// `nil` for users.
        public var virtualHost: String?
        /// A binding is named `exchange → queue (routing key)`, a permission by its user.
        public var name: String

        public init(_ kind: Kind, _ name: String, in virtualHost: String? = nil) {
            self.kind = kind
            self.virtualHost = virtualHost
            self.name = name
        }

        public var description: String {
            "\(self.kind.rawValue) '\(self.name)'" + (self.virtualHost.map { " in '\($0)'" } ?? "")
        }
    }

    public struct FieldChange: Sendable, Hashable {
        public var field: String
        /// `nil` when there was none, or the thing is new.
        public var before: String?
        public var after: String?

        public init(_ field: String, from before: String?, to after: String?) {
            self.field = field
            self.before = before
            self.after = after
        }
    }

    public enum Action: String, Sendable, Hashable {
        case create, change, replace, delete
    }

    public struct Step: Sendable, Hashable {
        public var action: Action
        public var resource: Resource
        /// What it will be, or what changes.
        public var fields: [FieldChange]
        /// Why it is not done, and what would allow it.
        public var refusal: String?
        /// What else a person must know.
        public var note: String?
        package var operation: TopologyOperation
    }

    public var steps: [Step] = []
    /// What is there, is not named, and is left alone.
    public var unmanaged: [Resource] = []

    public var isEmpty: Bool { self.steps.isEmpty }
    /// Steps that the options do not allow.
    public var refused: [Step] { self.steps.filter { $0.refusal != nil } }

    public func count(_ action: Action) -> Int { self.steps.count { $0.action == action } }

    /// The difference. Pure: the same for the same arguments.
    public init(
        for topology: RabbitMQTopology,
        on snapshot: TopologySnapshot,
        options: Options = Options()
    ) {
        var difference = TopologyDifference(topology, snapshot, options)
        difference.compute()
        self.steps = difference.steps + difference.deletions.reversed()
        self.unmanaged = difference.unmanaged
    }
}

/// What is done on the broker for a step.
package enum TopologyOperation: Sendable, Hashable {
    case putVirtualHost(RabbitMQTopology.VirtualHost)
    /// Of one that was not finished.
    case remakeVirtualHost(RabbitMQTopology.VirtualHost)
    /// With the hash that is kept when the password is not managed or right.
    case putUser(RabbitMQTopology.User, kept: RabbitMQPasswordHash?)
    case putPermission(RabbitMQTopology.Permission)
    case putExchange(RabbitMQTopology.Exchange)
    case replaceExchange(RabbitMQTopology.Exchange)
    case putQueue(RabbitMQTopology.Queue)
    case replaceQueue(RabbitMQTopology.Queue, type: String)
    case putBinding(RabbitMQTopology.Binding)
    case putPolicy(RabbitMQTopology.Policy)
    case deletePermission(user: String, virtualHost: String)
    case deleteExchange(name: String, virtualHost: String)
    case deleteQueue(name: String, virtualHost: String, type: String)
    case deleteBinding(TopologySnapshot.Binding)
    case deletePolicy(name: String, virtualHost: String)
}
