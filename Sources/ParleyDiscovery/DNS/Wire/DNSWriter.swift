/// Writes the pieces of a message up to a limit, and takes back what goes beyond it.
struct DNSWriter {
    private(set) var bytes: [UInt8] = []
    /// Where each name, or rest of one, stands that a pointer can lead to. By its exact bytes, so that the case of a
    /// name is never that of another one.
    private var offsets: [ArraySlice<UInt8>: UInt16] = [:]
    private var known: [ArraySlice<UInt8>] = []
    private let limit: Int

    init(limit: Int) {
        self.limit = limit
    }

    /// Runs `body`; what it has written stays only if it fits, with `reserve` bytes to spare.
    mutating func whole(reserve: Int = 0, _ body: (inout DNSWriter) -> Bool) -> Bool {
        let length = self.bytes.count
        let names = self.known.count
        if body(&self), self.bytes.count + reserve <= self.limit { return true }
        self.bytes.removeLast(self.bytes.count - length)
        while self.known.count > names, let name = self.known.popLast() { self.offsets[name] = nil }
        return false
    }

    mutating func write(_ value: UInt8) { self.bytes.append(value) }

    mutating func write(_ value: UInt16) {
        self.bytes.append(UInt8(truncatingIfNeeded: value >> 8))
        self.bytes.append(UInt8(truncatingIfNeeded: value))
    }

    mutating func write(_ value: UInt32) {
        self.write(UInt16(truncatingIfNeeded: value >> 16))
        self.write(UInt16(truncatingIfNeeded: value))
    }

    mutating func write(_ bytes: some Sequence<UInt8>) { self.bytes.append(contentsOf: bytes) }

    /// Sets what was written at `offset`; for lengths and counts that are known only afterwards.
    mutating func set(_ value: UInt16, at offset: Int) {
        guard offset >= 0, offset + 1 < self.bytes.count else { return }
        self.bytes[offset] = UInt8(truncatingIfNeeded: value >> 8)
        self.bytes[offset + 1] = UInt8(truncatingIfNeeded: value)
    }

    /// - Parameter compressed: Whether an earlier name may be pointed to. Those of the types of RFC 1035 may; SRV's may
    ///   not, for the sake of old readers (RFC 2782). Both kinds may be pointed to later.
    mutating func write(_ name: DNSName, compressed: Bool = true) {
        let wire = name.wire
        var position = 0
        while position < wire.count, wire[position] != 0 {
            let rest = wire[position...]
            if let offset = self.offsets[rest] {
                if compressed {
                    self.write(0xC000 | offset)
                    return
                }
            } else if self.bytes.count < 0x4000 {
                self.offsets[rest] = UInt16(truncatingIfNeeded: self.bytes.count)
                self.known.append(rest)
            }
            let end = min(position + 1 + Int(wire[position]), wire.count)
            self.bytes.append(contentsOf: wire[position..<end])
            position = end
        }
        self.bytes.append(0)
    }
}
