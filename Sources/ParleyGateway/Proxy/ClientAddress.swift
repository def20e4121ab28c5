internal import NIOCore

/// An address in the forms in which requests are limited, logged and passed on. Made once for a connection.
struct ClientAddress {
    var text = ByteBuffer()
    /// 4 or 16; none of what has no address.
    var bytes: [UInt8] = []
    var port = 0

    init() {}

    init(_ address: SocketAddress?) {
        self.text = ByteBuffer(string: address?.ipAddress ?? "")
        self.bytes = address?.ipAddress.flatMap { IPAddress($0)?.bytes } ?? []
        self.port = address?.port ?? 0
    }

    init(_ address: IPAddress, port: Int) {
        self.bytes = address.bytes
        self.port = port
        self.text = ByteBuffer(string: address.text)
    }
}

extension IPAddress {
    /// Nothing, when there are no bytes of an address.
    var ifWhole: IPAddress? { self.bytes.count == 4 || self.bytes.count == 16 ? self : nil }

    /// As the system writes it.
    var text: String {
        if self.bytes.count == 4 { return self.bytes.map { "\($0)" }.joined(separator: ".") }
        let packed = ByteBuffer(bytes: self.bytes)
        return (try? SocketAddress(packedIPAddress: packed, port: 0).ipAddress) ?? ""
    }
}
