internal import CZlib
package import NIOCore

package struct GzipError: Error, Sendable, Hashable, CustomStringConvertible {
    /// zlib's.
    package var code: Int32

    package var description: String { "gzip: zlib answered \(self.code); the answer cannot be completed" }
}

/// Compresses one body as it comes. Not for more than one thread.
package final class GzipEncoder {
    /// zlib keeps the address of its state, so it must not move.
    private let stream: UnsafeMutablePointer<z_stream>
    private let allocator: ByteBufferAllocator
    private var isFinished = false

    /// - Parameters:
    ///   - level: 1 (fast) to 9 (small).
    ///   - length: Of the body, when it is known: a short one needs less memory.
    package init(
        level: Int,
        length: Int64? = nil,
        allocator: ByteBufferAllocator = ByteBufferAllocator()
    ) throws(GzipError) {
        // zlib uses 2^(bits + 2) + 2^(memory + 9) bytes: 256 kB for a body of any length.
        var bits: Int32 = MAX_WBITS
        var memory: Int32 = 8
        if let length, length > 0 {
            while bits > 9, length < Int64(1) << Int64(bits - 1) - 262 {
                bits -= 1
                memory = max(memory - 1, 1)
            }
        }
        self.allocator = allocator
        self.stream = .allocate(capacity: 1)
        self.stream.initialize(to: z_stream())
        // 16 more asks for gzip's head and checksum.
        let code = deflateInit2_(
            self.stream,
            Int32(min(max(level, 1), 9)),
            Z_DEFLATED,
            bits + 16,
            memory,
            Z_DEFAULT_STRATEGY,
            ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size)
        )
        guard code == Z_OK else {
            self.isFinished = true
            throw GzipError(code: code)
        }
    }

    deinit {
        deflateEnd(self.stream)
        self.stream.deinitialize(count: 1)
        self.stream.deallocate()
    }

    /// What is ready to be sent, if anything: zlib gathers before it writes. With `flushes` everything that was given
    /// can be read by the client, at the price of a worse ratio: for bodies that come slowly.
    package func write(_ body: ByteBuffer, flushes: Bool = false) throws(GzipError) -> ByteBuffer? {
        let output = try self.run(body, flushes ? Z_SYNC_FLUSH : Z_NO_FLUSH)
        return output.readableBytes > 0 ? output : nil
    }

    /// The rest. Nothing may be written after it.
    package func finish() throws(GzipError) -> ByteBuffer {
        let output = try self.run(ByteBuffer(), Z_FINISH)
        self.isFinished = true
        return output
    }

    private func run(_ body: ByteBuffer, _ mode: Int32) throws(GzipError) -> ByteBuffer {
        guard !self.isFinished else { throw GzipError(code: Z_STREAM_ERROR) }
        var output = self.allocator.buffer(capacity: max(body.readableBytes / 4, 256))
        var failure: Int32?
        body.withUnsafeReadableBytes { input in
            // zlib's type has no const; it does not write to its input. No buffer is larger than 4 GiB.
            let start = input.bindMemory(to: UInt8.self).baseAddress
            self.stream.pointee.next_in = UnsafeMutablePointer(mutating: start)
            self.stream.pointee.avail_in = UInt32(truncatingIfNeeded: input.count)
            var isMore = true
            while isMore, failure == nil {
                output.writeWithUnsafeMutableBytes(minimumWritableBytes: 256) { room in
                    self.stream.pointee.next_out = room.bindMemory(to: UInt8.self).baseAddress
                    let size = UInt32(truncatingIfNeeded: min(room.count, Int(Int32.max)))
                    self.stream.pointee.avail_out = size
                    let code = deflate(self.stream, mode)
                    // Room that is left says that nothing more is to come. Z_BUF_ERROR: there was nothing to do.
                    isMore = self.stream.pointee.avail_out == 0
                    if code != Z_OK, code != Z_STREAM_END, code != Z_BUF_ERROR { failure = code }
                    return Int(size - self.stream.pointee.avail_out)
                }
            }
            self.stream.pointee.next_in = nil
            self.stream.pointee.next_out = nil
        }
        if let failure { throw GzipError(code: failure) }
        return output
    }
}
