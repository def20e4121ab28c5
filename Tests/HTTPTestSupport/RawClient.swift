internal import NIOCore
internal import NIOPosix
public import ParleyCore

/// One connection, written and read byte for byte.
public struct RawConnection {
    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    /// Everything that has come so far.
    public private(set) var received = ""

    /// Opens a connection for the length of `body`.
    public static func with<Value: Sendable>(
        _ endpoint: Endpoint,
        _ body: @Sendable @concurrent (inout RawConnection) async throws -> Value
    ) async throws -> Value {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .connect(host: endpoint.host, port: endpoint.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                        wrappingChannelSynchronously: channel,
                        configuration: .init(isOutboundHalfClosureEnabled: true)
                    )
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            var connection = RawConnection(inbound: inbound.makeAsyncIterator(), outbound: outbound)
            return try await body(&connection)
        }
    }

    @concurrent
    public func send(_ text: String) async throws { try await self.outbound.write(ByteBuffer(string: text)) }

    @concurrent
    public func send(bytes count: Int) async throws {
        try await self.outbound.write(ByteBuffer(repeating: UInt8(ascii: "x"), count: count))
    }

    /// Half-closes: the other side sees the end of what we send.
    public func finish() { self.outbound.finish() }

    /// Reads until `text` has come, or the connection ends.
    @concurrent
    @discardableResult
    public mutating func read(until text: String) async throws -> String {
        while !self.received.contains(text), let buffer = try await self.inbound.next() {
            self.received += String(decoding: buffer.readableBytesView, as: UTF8.self)
        }
        return self.received
    }

    /// Reads to the end of the connection; a reset is an end.
    @concurrent
    public mutating func readToEnd() async -> String {
        while let buffer = try? await self.inbound.next() {
            self.received += String(decoding: buffer.readableBytesView, as: UTF8.self)
        }
        return self.received
    }

    /// One buffer; `nil` at the end.
    @concurrent
    public mutating func readCount() async throws -> Int? { try await self.inbound.next()?.readableBytes }
}
