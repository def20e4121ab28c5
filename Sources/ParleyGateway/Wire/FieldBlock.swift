package import NIOCore

/// A stretch of the bytes of a ``FieldBlock``, counted from their beginning.
package struct ByteRange: Sendable, Hashable {
    package var start: UInt32
    package var count: UInt32

    package init(start: Int, count: Int) {
        self.start = UInt32(truncatingIfNeeded: start)
        self.count = UInt32(truncatingIfNeeded: count)
    }

    package static let empty = ByteRange(start: 0, count: 0)

    package var isEmpty: Bool { self.count == 0 }
    package var lowerBound: Int { Int(self.start) }
    package var upperBound: Int { Int(self.start) + Int(self.count) }
}

/// The header fields of one message as they came: their bytes, and where among them each name and value stands.
///
/// One representation for both protocols, so that whatever looks at a request, changes it and sends it on is written
/// once. A head of HTTP/1.1 is not copied to get here: its buffer is the block. Of HTTP/2, the decoded fields are
/// written one behind the other. Nothing is made into a string on the way through.
package struct FieldBlock: Sendable {
    package struct Field: Sendable {
        package var name: ByteRange
        package var value: ByteRange
        /// Which field it is, if it is one that the gateway knows.
        package var known: KnownField
    }

    /// What the ranges point into, from its reader index on. The reader index must not be moved.
    package var bytes: ByteBuffer
    package var fields: [Field]

    package init(bytes: ByteBuffer = ByteBuffer(), fields: [Field] = []) {
        self.bytes = bytes
        self.fields = fields
    }

    /// Adds a field; its bytes are written behind those that are there.
    package mutating func append(name: some Collection<UInt8>, value: some Collection<UInt8>, known: KnownField) {
        let start = self.bytes.readableBytes
        let nameCount = self.bytes.writeBytes(name)
        let valueCount = self.bytes.writeBytes(value)
        self.fields.append(
            Field(
                name: ByteRange(start: start, count: nameCount),
                value: ByteRange(start: start + nameCount, count: valueCount),
                known: known
            )
        )
    }

    /// The bytes of a range, as a view that shares the storage.
    package func view(_ range: ByteRange) -> ByteBufferView {
        let start = self.bytes.readerIndex + range.lowerBound
        return self.bytes.viewBytes(at: start, length: Int(range.count)) ?? ByteBufferView()
    }

    /// For logs and rarely used rules; bytes that are no UTF-8 are replaced.
    package func text(_ range: ByteRange) -> String { String(decoding: self.view(range), as: UTF8.self) }

    /// The first field of this kind.
    package func first(_ known: KnownField) -> Field? { self.fields.first { $0.known == known } }
}
