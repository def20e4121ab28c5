internal import NIOCore

/// What is gathered for one system call. Its storage is used again once the channel has let go of it, which it nearly
/// always has when a flush returns.
struct OutputBuffer {
    var bytes = ByteBuffer()
    private var handed: ByteBuffer?

    /// A connection that rests keeps no more than this.
    private static let maxKept = 16_384

    /// For the channel; ``bytes`` is empty afterwards.
    mutating func handOver() -> ByteBuffer {
        var handed = ByteBuffer()
        swap(&handed, &self.bytes)
        self.handed = handed
        return handed
    }

    /// After a flush.
    mutating func reuse() {
        guard var handed = self.handed else { return }
        self.handed = nil
        guard self.bytes.capacity == 0, handed.capacity <= Self.maxKept else { return }
        // While the channel still holds it, this leaves it alone and makes room anew.
        handed.clear()
        self.bytes = handed
    }
}
