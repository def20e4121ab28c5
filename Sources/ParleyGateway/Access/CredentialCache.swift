internal import Crypto
internal import NIOCore
internal import ParleyCore
internal import Synchronization

/// A SHA-256, as four words: a key of a dictionary without an array behind it.
struct Digest256: Sendable, Hashable {
    var words: (UInt64, UInt64, UInt64, UInt64)

    init(_ digest: SHA256.Digest) {
        self.words = digest.withUnsafeBytes { bytes in
            func word(_ index: Int) -> UInt64 { bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self) }
            return (word(0), word(1), word(2), word(3))
        }
    }

    /// Of 64 hexadecimal digits.
    init?(hexadecimal text: some Collection<UInt8>) {
        guard text.count == 64 else { return nil }
        var bytes: [UInt8] = []
        var high: UInt8?
        for digit in text {
            guard let value = Self.value(of: digit) else { return nil }
            if let first = high {
                bytes.append(first << 4 | value)
                high = nil
            } else {
                high = value
            }
        }
        self.words = bytes.withUnsafeBytes { bytes in
            func word(_ index: Int) -> UInt64 { bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self) }
            return (word(0), word(1), word(2), word(3))
        }
    }

    static func == (lhs: Digest256, rhs: Digest256) -> Bool {
        // All words are looked at, whatever the first ones say.
        let difference =
            (lhs.words.0 ^ rhs.words.0) | (lhs.words.1 ^ rhs.words.1) | (lhs.words.2 ^ rhs.words.2)
            | (lhs.words.3 ^ rhs.words.3)
        return difference == 0
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(self.words.0)
        hasher.combine(self.words.1)
        hasher.combine(self.words.2)
        hasher.combine(self.words.3)
    }

    private static func value(of digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

/// Under which key a result is kept: nobody without the secret of this process can say which credentials collide, and
/// no credential stays in memory.
struct CredentialDigester: Sendable {
    private let secret: [UInt64]

    init(random: any RandomSource) {
        self.secret = (0..<4).map { _ in random.next() }
    }

    func digest(_ generation: UInt64, _ bytes: ByteBufferView) -> Digest256 {
        var hash = SHA256()
        self.secret.withUnsafeBytes { hash.update(bufferPointer: $0) }
        withUnsafeBytes(of: generation) { hash.update(bufferPointer: $0) }
        bytes.withUnsafeBytes { hash.update(bufferPointer: $0) }
        return Digest256(hash.finalize())
    }
}

/// Results that were hard to come by, at most so many; the oldest goes first.
final class ResultCache<Value: Sendable>: Sendable {
    private struct Entry {
        var value: Value
        var expires: ContinuousClock.Instant?
    }

    private struct State {
        var entries: [Digest256: Entry] = [:]
        /// In the order of their arrival, from `oldest` on and around the end.
        var order: [Digest256] = []
        var oldest = 0
    }

    private let capacity: Int
    private let state = Mutex(State())

    init(capacity: Int) {
        self.capacity = max(capacity, 1)
    }

    var count: Int { self.state.withLock { $0.entries.count } }

    func value(_ key: Digest256, now: ContinuousClock.Instant) -> Value? {
        self.state.withLock { state in
            guard let entry = state.entries[key] else { return nil }
            if let expires = entry.expires, expires <= now {
                state.entries[key] = nil
                return nil
            }
            return entry.value
        }
    }

    func insert(_ value: Value, for key: Digest256, expires: ContinuousClock.Instant? = nil) {
        self.state.withLock { state in
            let isKnown = state.entries.updateValue(Entry(value: value, expires: expires), forKey: key) != nil
            guard !isKnown else { return }
            if state.order.count < self.capacity {
                state.order.append(key)
            } else {
                let gone = state.order[state.oldest]
                if gone != key { state.entries[gone] = nil }
                state.order[state.oldest] = key
                state.oldest = (state.oldest + 1) % self.capacity
            }
        }
    }
}
