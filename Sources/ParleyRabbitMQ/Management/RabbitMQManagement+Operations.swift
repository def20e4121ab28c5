public import ParleyCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Who is asking.
public struct RabbitMQIdentity: Sendable, Hashable {
    public var name: String
    public var tags: [String]
}

/// The broker in a few numbers.
public struct RabbitMQOverview: Sendable, Hashable {
    public var version: String
    public var clusterName: String
    public var node: String
    /// Over all virtual hosts that the user may see; `nil` until statistics have come.
    public var messages: Int?
}

/// One queue and how it is doing. What the broker has no number for is `nil`: statistics come some seconds after a
/// queue, and rates only while something goes on.
public struct RabbitMQQueueStatus: Sendable, Hashable {
    public var virtualHost: String
    public var name: String
    public var type: String
    public var durable: Bool
    public var autoDelete: Bool
    public var isExclusive: Bool
    public var arguments: [String: RabbitMQValue]
    public var policy: String?
    public var state: String?
    public var messages: Int?
    public var ready: Int?
    public var unacknowledged: Int?
    public var consumers: Int?
    /// Messages a second.
    public var publishRate: Double?
    public var deliverRate: Double?
    /// The timestamp property of the first message, where the publisher set one and the queue is a classic one.
    public var headTimestamp: Timestamp?

    /// As a topology has it.
    public var snapshot: TopologySnapshot.Queue {
        TopologySnapshot.Queue(
            RabbitMQTopology.Queue(
                virtualHost: self.virtualHost,
                name: self.name,
                durable: self.durable,
                autoDelete: self.autoDelete,
                arguments: self.arguments
            ),
            type: self.type,
            isExclusive: self.isExclusive,
            messages: self.messages,
            consumers: self.consumers
        )
    }
}

/// One consumer of a queue.
public struct RabbitMQConsumerStatus: Sendable, Hashable {
    public var virtualHost: String
    public var queue: String
    public var tag: String
    public var connection: String?
    public var user: String?
    public var peer: String?
    public var prefetch: Int?
    public var requiresAcknowledgement: Bool
    public var isActive: Bool
}

extension RabbitMQManagement {
    public func whoami() async throws -> RabbitMQIdentity {
        let answer: RabbitMQValue = try await self.get(ManagementPath("whoami"))
        return RabbitMQIdentity(name: answer["name"].text ?? "", tags: answer["tags"].items.compactMap(\.text))
    }

    public func overview() async throws -> RabbitMQOverview {
        let answer: RabbitMQValue = try await self.get(ManagementPath("overview"))
        return RabbitMQOverview(
            version: answer["rabbitmq_version"].text ?? "unknown",
            clusterName: answer["cluster_name"].text ?? "",
            node: answer["node"].text ?? "",
            messages: answer["queue_totals"]["messages"].int
        )
    }

    /// The queues of a virtual host, or of all that the user may see; read in pages.
    public func queues(in virtualHost: String? = nil) async throws -> [RabbitMQQueueStatus] {
        let path = virtualHost.map { ManagementPath("queues", $0) } ?? ManagementPath("queues")
        return try await self.list(path, columns: RabbitMQQueueStatus.columns, of: RabbitMQValue.self)
            .map { RabbitMQQueueStatus($0) }
    }

    /// - Throws: ``RabbitMQManagementError/Code/notFound``.
    public func queue(_ name: String, in virtualHost: String) async throws -> RabbitMQQueueStatus {
        RabbitMQQueueStatus(try await self.get(ManagementPath("queues", virtualHost, name)))
    }

    /// The consumers of a virtual host, or of all that the user may see. This broker's API has no pages for them.
    public func consumers(in virtualHost: String? = nil) async throws -> [RabbitMQConsumerStatus] {
        let path = virtualHost.map { ManagementPath("consumers", $0) } ?? ManagementPath("consumers")
        let records: [RabbitMQValue] = try await self.get(path)
        return records.map { RabbitMQConsumerStatus($0) }
    }

    /// Publishes one message, as the guide's `curl` does; for trying things out, not for traffic.
    ///
    /// - Parameter exchange: Empty for the default exchange.
    /// - Returns: Whether a queue took it.
    public func publish(
        _ payload: [UInt8],
        to exchange: String,
        in virtualHost: String,
        routingKey: String,
        properties: [String: RabbitMQValue] = [:]
    ) async throws -> Bool {
        struct Answer: Decodable, Sendable { var routed: Bool }
        // As text where it is text, so that people can read it on the way.
        let text = String(validating: payload, as: UTF8.self)
        let body: [String: RabbitMQValue] = [
            "properties": .table(properties), "routing_key": .string(routingKey),
            "payload": .string(text ?? Data(payload).base64EncodedString()),
            "payload_encoding": text == nil ? "base64" : "string",
        ]
        let name = exchange.isEmpty ? "amq.default" : exchange
        let path = ManagementPath("exchanges", virtualHost, name, "publish")
        return try await self.post(path, body, as: Answer.self).routed
    }

    /// Whether a message is ready now. Not a statistic: one is taken and put back, which marks it as redelivered.
    func holdsMessage(_ queue: String, in virtualHost: String) async throws -> Bool {
        struct Answer: Decodable, Sendable {}
        let body: [String: RabbitMQValue] = [
            "count": 1, "ackmode": "ack_requeue_true", "encoding": "auto", "truncate": 1,
        ]
        let path = ManagementPath("queues", virtualHost, queue, "get")
        return try await !self.post(path, body, as: [Answer].self).isEmpty
    }
}

extension RabbitMQQueueStatus {
    fileprivate static let columns =
        "name,vhost,type,durable,auto_delete,exclusive,arguments,policy,state,messages,messages_ready,"
        + "messages_unacknowledged,consumers,head_message_timestamp,message_stats.publish_details.rate,"
        + "message_stats.deliver_get_details.rate"

    /// Lenient: the broker leaves out what it has no number for, or writes an empty text or list instead.
    fileprivate init(_ record: RabbitMQValue) {
        let statistics = record["message_stats"]
        self.init(
            virtualHost: record["vhost"].text ?? "",
            name: record["name"].text ?? "",
            type: record["type"].text ?? "classic",
            durable: record["durable"].bool ?? false,
            autoDelete: record["auto_delete"].bool ?? false,
            isExclusive: record["exclusive"].bool ?? false,
            arguments: record["arguments"].members,
            policy: record["policy"].text.flatMap { $0.isEmpty ? nil : $0 },
            state: record["state"].text,
            messages: record["messages"].int,
            ready: record["messages_ready"].int,
            unacknowledged: record["messages_unacknowledged"].int,
            consumers: record["consumers"].int,
            publishRate: statistics["publish_details"]["rate"].number,
            deliverRate: statistics["deliver_get_details"]["rate"].number,
            headTimestamp: record["head_message_timestamp"].int.flatMap { seconds in
                let (microseconds, overflow) = Int64(seconds).multipliedReportingOverflow(by: 1_000_000)
                return overflow ? nil : Timestamp(microseconds: microseconds)
            }
        )
    }
}

extension RabbitMQConsumerStatus {
    fileprivate init(_ record: RabbitMQValue) {
        let channel = record["channel_details"]
        self.init(
            virtualHost: record["queue"]["vhost"].text ?? "",
            queue: record["queue"]["name"].text ?? "",
            tag: record["consumer_tag"].text ?? "",
            connection: channel["connection_name"].text,
            user: channel["user"].text,
            peer: channel["peer_host"].text.map { host in channel["peer_port"].int.map { "\(host):\($0)" } ?? host },
            prefetch: record["prefetch_count"].int,
            requiresAcknowledgement: record["ack_required"].bool ?? true,
            isActive: record["active"].bool ?? true
        )
    }
}
