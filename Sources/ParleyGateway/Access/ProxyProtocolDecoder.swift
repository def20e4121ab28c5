package import NIOCore

/// From where a connection came before it reached the proxy that speaks to us, and where it went.
package enum ProxyProtocolHeader: Sendable, Hashable {
    /// The proxy's own connection, or one of a family that has no addresses: the socket's address holds.
    case local
    case proxied(source: SocketAddress, destination: SocketAddress)
}

package struct ProxyProtocolError: Error, Sendable, Hashable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        /// The first bytes are those of neither version.
        case noHeader
        case tooLong
        case unsupportedVersion
        case malformed
        /// The connection ended before the header did.
        case incomplete
    }

    package var code: Code

    package var description: String {
        let what =
            switch self.code {
            case .noHeader: "the connection does not begin with it: does the balancer before the gateway send it?"
            case .tooLong: "the header is too long"
            case .unsupportedVersion: "the version is neither 1 nor 2"
            case .malformed: "the header is malformed"
            case .incomplete: "the connection ended within the header"
            }
        return "PROXY protocol: \(what)"
    }
}

/// Reads the header of the PROXY protocol, version 1 or 2, from the beginning of a connection.
///
/// A header may come in pieces; nothing is consumed before it is complete. Extensions (TLVs) are passed over.
package struct ProxyProtocolDecoder: Sendable {
    /// Of version 1, with its end of line.
    package static let maxTextBytes = 107
    /// Of version 2, with its extensions.
    package static let maxBinaryBytes = 4_096

    private static let signature: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]
    private static let textStart = Array("PROXY ".utf8)

    package init() {}

    /// `nil` while more is needed. What follows the header stays in the buffer.
    package func decode(_ buffer: inout ByteBuffer) throws(ProxyProtocolError) -> ProxyProtocolHeader? {
        let bytes = buffer.readableBytesView
        guard let first = bytes.first else { return nil }
        let start = first == Self.signature[0] ? Self.signature : Self.textStart
        guard bytes.prefix(start.count).elementsEqual(start.prefix(bytes.count)) else {
            throw ProxyProtocolError(code: .noHeader)
        }
        guard bytes.count >= start.count else { return nil }
        return first == Self.signature[0] ? try self.binary(&buffer) : try self.text(&buffer)
    }

    // MARK: Version 1

    private func text(_ buffer: inout ByteBuffer) throws(ProxyProtocolError) -> ProxyProtocolHeader? {
        let bytes = buffer.readableBytesView.prefix(Self.maxTextBytes)
        guard let newline = bytes.firstIndex(of: 0x0A) else {
            guard bytes.count < Self.maxTextBytes else { throw ProxyProtocolError(code: .tooLong) }
            return nil
        }
        let line = bytes[..<newline]
        guard line.last == 0x0D else { throw ProxyProtocolError(code: .malformed) }
        let length = line.count + 1
        let words = line.dropLast().split(separator: 0x20, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        let header = try self.header(words)
        buffer.moveReaderIndex(forwardBy: length)
        return header
    }

    private func header(_ words: [String]) throws(ProxyProtocolError) -> ProxyProtocolHeader {
        // Whatever follows `UNKNOWN` is to be ignored.
        if words.count >= 2, words[1] == "UNKNOWN" { return .local }
        guard words.count == 6, words[1] == "TCP4" || words[1] == "TCP6" else {
            throw ProxyProtocolError(code: .malformed)
        }
        let isV4 = words[1] == "TCP4"
        return .proxied(
            source: try self.address(words[2], words[4], isV4: isV4),
            destination: try self.address(words[3], words[5], isV4: isV4)
        )
    }

    private func address(_ text: String, _ port: String, isV4: Bool) throws(ProxyProtocolError) -> SocketAddress {
        guard IPAddress(text) != nil, text.contains(":") != isV4, !text.contains("%"), let port = self.port(port),
            let address = try? SocketAddress(ipAddress: text, port: port)
        else { throw ProxyProtocolError(code: .malformed) }
        return address
    }

    private func port(_ text: String) -> Int? {
        guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }),
            let port = Int(text), port <= 65_535
        else { return nil }
        return port
    }

    // MARK: Version 2

    private func binary(_ buffer: inout ByteBuffer) throws(ProxyProtocolError) -> ProxyProtocolHeader? {
        let start = buffer.readerIndex
        let fixed = Self.signature.count + 4
        guard let versionAndCommand = buffer.getInteger(at: start + 12, as: UInt8.self),
            let familyAndTransport = buffer.getInteger(at: start + 13, as: UInt8.self),
            let length = buffer.getInteger(at: start + 14, as: UInt16.self)
        else { return nil }
        guard versionAndCommand >> 4 == 2 else { throw ProxyProtocolError(code: .unsupportedVersion) }
        guard fixed + Int(length) <= Self.maxBinaryBytes else { throw ProxyProtocolError(code: .tooLong) }
        guard buffer.readableBytes >= fixed + Int(length) else { return nil }
        let header: ProxyProtocolHeader
        switch (versionAndCommand & 0x0F, familyAndTransport) {
        case (0, _): header = .local
        case (1, 0x11): header = try self.addresses(buffer, at: start + fixed, length: Int(length), width: 4)
        case (1, 0x21): header = try self.addresses(buffer, at: start + fixed, length: Int(length), width: 16)
        // Datagrams, unix sockets and families to come: their addresses mean nothing here.
        case (1, _): header = .local
        default: throw ProxyProtocolError(code: .malformed)
        }
        buffer.moveReaderIndex(forwardBy: fixed + Int(length))
        return header
    }

    private func addresses(
        _ buffer: ByteBuffer,
        at start: Int,
        length: Int,
        width: Int
    ) throws(ProxyProtocolError) -> ProxyProtocolHeader {
        guard length >= 2 * width + 4, let source = buffer.getSlice(at: start, length: width),
            let destination = buffer.getSlice(at: start + width, length: width),
            let sourcePort = buffer.getInteger(at: start + 2 * width, as: UInt16.self),
            let destinationPort = buffer.getInteger(at: start + 2 * width + 2, as: UInt16.self),
            let from = try? SocketAddress(packedIPAddress: source, port: Int(sourcePort)),
            let to = try? SocketAddress(packedIPAddress: destination, port: Int(destinationPort))
        else { throw ProxyProtocolError(code: .malformed) }
        return .proxied(source: from, destination: to)
    }
}

/// Takes the header off the beginning of a connection, tells it as a user event, and leaves the pipeline.
///
/// ``ProxyProtocolHeader`` is fired before the bytes that follow the header. A connection that does not begin with one
/// is closed, as nginx does; the error is fired first, for the log. How long it may take is the owner's business.
package final class ProxyProtocolHandler: ChannelInboundHandler, RemovableChannelHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer

    private let decoder = ProxyProtocolDecoder()
    private var received: ByteBuffer?
    private var isDone = false

    package init() {}

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isDone else {
            // What comes after the end, before the removal is through, or after the close.
            if self.received == nil { context.fireChannelRead(data) }
            return
        }
        var buffer = self.unwrapInboundIn(data)
        if var earlier = self.received {
            earlier.writeBuffer(&buffer)
            buffer = earlier
        }
        do throws(ProxyProtocolError) {
            guard let header = try self.decoder.decode(&buffer) else {
                self.received = buffer
                return
            }
            self.received = nil
            self.isDone = true
            context.fireUserInboundEventTriggered(header)
            if buffer.readableBytes > 0 {
                context.fireChannelRead(self.wrapInboundOut(buffer))
                context.fireChannelReadComplete()
            }
            context.pipeline.syncOperations.removeHandler(self, promise: nil)
        } catch {
            self.received = ByteBuffer()
            self.isDone = true
            context.fireErrorCaught(error)
            context.close(promise: nil)
        }
    }

    package func channelInactive(context: ChannelHandlerContext) {
        if !self.isDone, self.received != nil {
            context.fireErrorCaught(ProxyProtocolError(code: .incomplete))
        }
        context.fireChannelInactive()
    }
}
